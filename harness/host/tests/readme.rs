//! What a reader copies from README.md works as it stands: rustdoc compiles its blocks of Rust and runs the first;
//! these tests hold the rest.

const README: &str = include_str!("../README.md");
const STORY: &str = include_str!("../examples/first_story.rs");

/// The blocks of the page in this language, as they are read.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}");
    let parts = README.split("\n```").collect::<Vec<_>>();
    // Every second part is inside.
    let inside = parts.iter().skip(1).step_by(2);
    let of_language = inside.filter(|part| {
        let info = part.lines().next().unwrap_or_default();
        info.split(',').next() == opening.strip_prefix("```")
    });
    of_language.filter_map(|part| part.split_once('\n')).map(|(_, code)| code).collect()
}

#[test]
fn the_first_story_is_the_example() {
    let (_, code) = STORY.split_once("\n\n").expect("a line of documentation first");
    assert_eq!(blocks("rust")[0].trim(), code.trim());
}

/// rustdoc hides lines that begin with a hash: whoever copies a block from the rendered page misses them.
#[test]
fn no_block_hides_lines() {
    let blocks = blocks("rust");
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let hidden = block.lines().find(|line| line.trim() == "#" || line.trim().starts_with("# "));
        assert_eq!(hidden, None);
    }
}
