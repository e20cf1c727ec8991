//! Inputs that fuzzing found, and the good examples, through the fuzz targets.

mod targets;
mod world;

use std::path::Path;

use targets::Target;

on_both! {
    what_fuzzing_found_stays_fixed,
    the_good_examples_keep_every_promise,
}

fn what_fuzzing_found_stays_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz-inputs");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of inputs").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(target) = Target::ALL.into_iter().find(|target| name.starts_with(target.name())) else {
            assert_eq!(name, "README.md", "a file that belongs to no target");
            continue;
        };
        let input = std::fs::read(entry.path()).expect("the input");
        if let Err(broken) = target.check(&input) {
            panic!("{name}: {broken}");
        }
        replayed += 1;
    }
    assert!(replayed > 0, "there are no inputs in {}", folder.display());
}

fn the_good_examples_keep_every_promise() {
    for target in Target::ALL {
        for input in target.examples() {
            if let Err(broken) = target.check(&input) {
                panic!("{}: {broken}", target.name());
            }
        }
    }
}
