//! B27: no secret stands in a file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_mesh::paths::root;
use regex::bytes::Regex;

/// The forms of others' secrets, by their makers' prefixes.
const WELL_KNOWN: [(&str, &str); 18] = [
    ("private key (PEM)", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("private key (JWK)", r#""d"\s*:\s*"[A-Za-z0-9_-]{40,}""#),
    ("age secret key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    ("AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("Google API key", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    ("Google service account", r#""private_key_id"\s*:\s*"[0-9a-f]{40}""#),
    ("Google OAuth client secret", r"\bGOCSPX-[0-9A-Za-z_-]{28}\b"),
    ("Azure storage key", r"\bAccountKey=[0-9A-Za-z+/]{86}=="),
    ("GitHub token", r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{82})\b"),
    ("GitLab token", r"\bglpat-[0-9A-Za-z_-]{20}"),
    ("Slack token", r"\bxox[abeprs]-[0-9A-Za-z-]{20,}"),
    ("Stripe key", r"\b[rs]k_live_[0-9A-Za-z]{24,}"),
    ("npm token", r"\bnpm_[0-9A-Za-z]{36}\b"),
    ("PyPI token", r"\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}"),
    ("Vault token", r"\bhv[sb]\.[0-9A-Za-z_-]{90,}"),
    ("key of an AI provider", r"\bsk-(?:ant-|proj-)?[0-9A-Za-z_-]{40,}"),
    ("signed token (JWT)", r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{20,}"),
    // Placeholders are in capitals, and what tests say is shorter.
    ("password in a URL", r#"\b[a-z][a-z+]+://[^\s/:@"'<>{}]+:[a-z0-9][^\s/:@"'<>{}$]{7,}@"#),
];

/// What is found and is none: file, form, and why.
const KNOWN: [(&str, &str, &str); 1] = [(
    "control-service/sql/src/server.rs",
    "password in a URL",
    "the word `password`, where the form is described",
)];

struct Form {
    name: String,
    expression: Regex,
}

/// The forms of our own as the reference has them, and those of others.
fn forms() -> Vec<Form> {
    let page = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    let section = page.split("### Secrets and scanners\n").nth(1).unwrap().split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"));
    let ours = rows.map(|(name, rest)| (name.to_owned(), rest.split('`').next().unwrap().to_owned()));
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), 5, "{ours:?}");
    let others = WELL_KNOWN.map(|(name, expression)| (name.to_owned(), expression.to_owned()));
    let form = |(name, expression): (String, String)| {
        let expression = Regex::new(&expression).unwrap_or_else(|error| panic!("{name}: {error}"));
        Form { name, expression }
    };
    ours.into_iter().chain(others).map(form).collect()
}

/// Every file but what was built or installed, and git's own.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = entry.file_name();
        if kind.is_dir() && !["target", "node_modules", ".git"].iter().any(|one| name == *one) {
            files(&path, found);
        } else if kind.is_file() && name != ".git" {
            found.push(path);
        }
    }
}

/// File, line and form of each find. The secret itself is told to nobody.
fn finds(folder: &Path, forms: &[Form]) -> Vec<(String, usize, String)> {
    let (mut paths, mut finds) = (Vec::new(), Vec::new());
    files(folder, &mut paths);
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        for form in forms {
            for found in form.expression.find_iter(&bytes) {
                let line = 1 + bytes[..found.start()].iter().filter(|byte| **byte == b'\n').count();
                finds.push((name.clone(), line, form.name.clone()));
            }
        }
    }
    finds
}

#[test]
fn no_file_of_the_repository_has_a_secret_in_it() {
    let finds = finds(&root(), &forms());
    let is_known = |file: &str, form: &str| KNOWN.iter().any(|(known, of, _)| *known == file && *of == form);
    let told: Vec<_> = finds.iter().filter(|(file, _, form)| !is_known(file, form)).collect();
    assert!(told.is_empty(), "take it out, and make it worthless where it was used: {told:#?}");
    for (file, form, why) in KNOWN {
        assert!(
            finds.iter().any(|(found, _, of)| found == file && of == form),
            "{file}, {form} ({why}): is gone"
        );
    }
}

/// One of each form. They are put together here, so that this file has none.
fn canaries() -> Vec<(&'static str, String)> {
    let (digits, letters) = ("0123456789abcdef", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0".repeat(4));
    let of = |length: usize| letters[..length].to_owned();
    let ours = |prefix: &str| format!("{prefix}_{digits}_{}_{}", digits.repeat(4), &digits[..8]);
    vec![
        ("API key", ours("pck")),
        ("administrator's token", ours("pca")),
        ("data cluster's token", ours("pcc")),
        ("service client's secret", ours("pcs")),
        ("join token", format!("pcj_{digits}_{0}_{0}_{1}", digits.repeat(4), &digits[..8])),
        ("private key (PEM)", format!("-----BEGIN {} KEY-----", "EC PRIVATE")),
        ("private key (JWK)", format!("{{\"kty\": \"OKP\", \"d\": \"{}\"}}", of(43))),
        ("age secret key", format!("AGE-SECRET-KEY-{}", "1Q".repeat(29) + "X")),
        ("AWS access key", format!("{}{}", "AKIA", "Q4".repeat(8))),
        ("Google API key", format!("{}{}", "AIza", of(35))),
        ("Google service account", format!("\"private_key_id\": \"{}\"", &digits.repeat(3)[..40])),
        ("Google OAuth client secret", format!("{}{}", "GOCSPX-", of(28))),
        ("Azure storage key", format!("AccountKey={}==", of(86))),
        ("GitHub token", format!("{}_{}", "ghp", of(36))),
        ("GitLab token", format!("{}-{}", "glpat", of(20))),
        ("Slack token", format!("{}-{}", "xoxb", of(30))),
        ("Stripe key", format!("sk_{}_{}", "live", of(24))),
        ("npm token", format!("{}_{}", "npm", of(36))),
        ("PyPI token", format!("pypi-{}{}", "AgEIcHlwaS5vcmc", of(60))),
        ("Vault token", format!("{}.{}", "hvs", of(95))),
        ("key of an AI provider", format!("sk-{}{}", "ant-", of(50))),
        ("signed token (JWT)", format!("{0}{1}.{0}{1}.{2}", "ey", of(20).replacen('a', "J", 1), of(43))),
        ("password in a URL", format!("postgresql://portcullis:{}@db.example/portcullis", &digits[4..])),
    ]
}

#[test]
fn a_canary_of_each_form_is_found_where_it_stands() {
    // Compiled once: that is what takes time.
    let (canaries, forms) = (canaries(), forms());
    assert_eq!(canaries.len(), forms.len());
    for (form, secret) in canaries {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("deep/.hidden");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("notes"), [b"\xff\x00 first\n\nx = '", secret.as_bytes(), b"'\n"].concat())
            .unwrap();
        let found = finds(folder.path(), &forms);
        assert_eq!(found, [("deep/.hidden/notes".to_owned(), 3, form.to_owned())], "{form}");
        fs::write(place.join("notes"), &secret[..secret.len() / 2]).unwrap();
        assert!(finds(folder.path(), &forms).is_empty(), "half of it: {form}");
    }
}
