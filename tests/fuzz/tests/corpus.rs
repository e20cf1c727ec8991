//! Every input that was kept, and some thousand random ones: a promise that was broken once stays kept.

use std::path::Path;

use portcullis_fuzz::TARGETS;

#[test]
fn every_kept_input_keeps_its_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, check) in TARGETS {
        let folder = std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut inputs = 0;
        for entry in folder {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no input");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let count = |folder: &str| std::fs::read_dir(root.join(folder)).unwrap().count();
    assert_eq!((count("corpus"), count("runner/src/bin")), (TARGETS.len(), TARGETS.len()));
    for (name, _) in TARGETS {
        let runner = std::fs::read_to_string(root.join("runner/src/bin").join(name).with_extension("rs"));
        assert!(runner.unwrap().contains(&format!("{name:?}")), "{name} runs another target");
    }
}

#[test]
fn random_inputs_keep_every_promise() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for (_, check) in TARGETS {
        for _ in 0..300 {
            let length = usize::try_from(next() % 200).unwrap();
            let input: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[3]).collect();
            check(&input);
        }
    }
}
