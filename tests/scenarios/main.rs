//! Scenes: one small text file a story, played against a world of DNS and HTTPS on loopback. A new `.scene` file
//! below this directory is found and played by itself; `README.md` says how they are written and what is watched.

mod grammar;
mod player;
mod promise;
mod stage;
mod vectors;

use grammar::{Act, Scene};
use mtasts::reason::Reason;
use player::Way;
use std::collections::HashSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

const THREADS: usize = 8;

/// Whether a word is the name of a reason.
fn is_reason(word: &str) -> bool {
    (0..1000).filter_map(Reason::from_code).any(|reason| reason.as_str() == word)
}

/// All scenes, or what is wrong with their files.
fn scenes() -> Vec<Scene> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let (mut open, mut files): (Vec<PathBuf>, Vec<PathBuf>) = (vec![root.clone()], Vec::new());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|kind| kind.to_str()) {
                Some("scene") => files.push(path),
                _ if path.is_dir() => open.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    let parsed = files.iter().map(|path| {
        let name = Path::new("tests/scenarios").join(path.strip_prefix(&root).unwrap());
        grammar::parse(&name.display().to_string(), &fs::read_to_string(path).unwrap())
    });
    let (scenes, faults): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
    let faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    scenes.into_iter().filter_map(Result::ok).collect()
}

#[test]
fn every_scene_ends_as_it_says() {
    let all = scenes();
    let part = std::env::var("SCENES").unwrap_or_default();
    let played = all.iter().filter(|scene| scene.path.contains(&part));
    let tasks: Vec<_> = played.flat_map(|scene| [(scene, Way::OneContext), (scene, Way::NewContexts)]).collect();
    assert!(!tasks.is_empty(), "no scene has `{part}` in its path");
    let (count, began) = (tasks.len() / 2, Instant::now());
    let (tasks, faults) = (Mutex::new(tasks), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some((scene, way)) = tasks.lock().unwrap().pop() else { return };
                    let played = panic::catch_unwind(|| player::play(scene, way));
                    let fault = played.unwrap_or_else(|_| Some(format!("{}: {way:?}: panic", scene.path)));
                    faults.lock().unwrap().extend(fault);
                }
            });
        }
    });
    let mut faults = faults.into_inner().unwrap();
    faults.sort();
    println!("{count} scenes played in {:?}", began.elapsed());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_flow_vectors_and_their_scenes_correspond_one_to_one() {
    let scenes = scenes();
    let mut faults = Vec::new();
    for flow in vectors::flows() {
        let name = flow["name"].as_str().unwrap();
        let found: Vec<&Scene> = scenes.iter().filter(|scene| scene.flow.as_deref() == Some(name)).collect();
        match found[..] {
            [scene] => faults.extend(vectors::differences(flow, scene)),
            _ => faults.push(format!("flow `{name}` is {} scenes, want one", found.len())),
        }
    }
    let claimed = scenes.iter().filter(|scene| scene.flow.is_some()).count();
    assert_eq!(claimed, vectors::flows().len(), "scenes that claim to be a flow");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_malformed_policy_is_played() {
    let scenes = scenes();
    let acts = scenes.iter().flat_map(|scene| &scene.steps).flat_map(|step| &step.acts);
    let played: HashSet<&str> = acts
        .filter_map(|act| match act {
            Act::Https(https) => https.what.strip_prefix("vector:"),
            _ => None,
        })
        .collect();
    let missing: Vec<&str> = vectors::malformed().filter(|name| !played.contains(name)).collect();
    assert!(missing.is_empty(), "in no scene: {missing:?}");
}

/// Reasons of answers that scenes leave to other tests.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("parsed", "tests/c/life.c", "MTASTS_REASON_PARSED"),
    ("address-literal", "tests/network/dns.rs", "Reason::AddressLiteral"),
    ("invalid-domain", "tests/network/dns.rs", "Reason::InvalidDomain"),
    ("being-checked", "src/discovery/tests/turns.rs", "Reason::BeingChecked"),
    ("waited-in-vain", "tests/network/crowd.rs", "Reason::WaitedInVain"),
    ("no-trusted-roots", "tests/network/certificates.rs", "Reason::NoTrustedRoots"),
    ("policy-host-media-type", "tests/network/https.rs", "nothing(PolicyHostMediaType, text)"),
];

#[test]
fn every_reason_of_an_answer_is_wanted_by_a_scene_or_a_test() {
    let scenes = scenes();
    let expects = scenes.iter().flat_map(|scene| &scene.steps).flat_map(|step| &step.expect);
    let wanted: HashSet<&str> = expects.flat_map(|expect| &expect.values).map(String::as_str).collect();
    let is_in_a_test = |name: &str| {
        let found = ELSEWHERE.iter().find(|(reason, ..)| *reason == name);
        found.is_some_and(|(_, file, words)| {
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap().contains(words)
        })
    };
    // From 60 on they are reasons of decisions.
    let reasons = (0..60).filter_map(Reason::from_code).map(Reason::as_str);
    let missing: Vec<&str> = reasons.filter(|name| !wanted.contains(name) && !is_in_a_test(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_scene_file_with_a_mistake_is_an_error_that_names_file_and_line() {
    for line in [
        "expect enforce",
        "at : expect enforce",
        "at 5: expect enforce",
        "at 5d3: expect enforce",
        "at 1d to 2d: expect enforce",
        "at 1d to 2d every 0: expect enforce",
        "at 0: expect nonsense",
        "at 0: expect mode=enforce",
        "at 0: expect txt=many",
        "at 0: expect from=dns",
        "at 0: expect fetched|nonsense",
        "at 0: expect log=loud",
        "at 0: dance; expect enforce",
        "at 0: dns=; expect enforce",
        "at 0: dns=id1 ttl=x; expect enforce",
        "at 0: dns=\"open; expect enforce",
        "at 0: https=nonsense; expect enforce",
        "at 0: https=99; expect enforce",
        "at 0: https=enforce as=nonsense; expect enforce",
        "at 0: https=enforce certificate=nonsense; expect enforce",
        "at 0: https=enforce nonsense; expect enforce",
        "at 0: address=nowhere; expect enforce",
        "at 0: clock=+1d sometimes; expect enforce",
        "at 0: effort=more; expect enforce",
        "at 0: set refresh; expect enforce",
        "at 0: timeout=-1s; expect enforce",
    ] {
        let error = grammar::parse("broken.scene", &format!("# A story.\n\n{line}\n")).unwrap_err();
        assert!(error.starts_with("broken.scene:3: "), "{line}: {error}");
    }
    for (text, line) in [
        ("at 0: expect enforce\n", 1),
        ("# A story.\nat 0: dns=id1\n", 1),
        ("# A story.\n  expect enforce\n", 2),
        ("# A story.\nat 1d: expect enforce\nat 1h: expect enforce\n", 3),
    ] {
        let error = grammar::parse("broken.scene", text).unwrap_err();
        assert!(error.starts_with(&format!("broken.scene:{line}: ")), "{text}: {error}");
    }
}

/// What cannot be seen in the text is told when the scene is played.
#[test]
fn a_wrong_expectation_fails_and_names_file_and_line() {
    let play = |what: &str| {
        let story = format!("# A story.\nat 0: dns=id1; https=enforce\nat 0: {what}\n");
        player::play(&grammar::parse("wrong.scene", &story).unwrap(), Way::NewContexts)
    };
    let right = "expect enforce fetched|healed from=https id=id1 result=none text~\"fetched now\" txt=1 https=1 log=silent \
                 expires=7d";
    assert_eq!(play(right), None);
    for wrong in [
        "expect testing",
        "expect cached",
        "expect from=cache",
        "expect id=ID1",
        "expect result=sts-policy-invalid",
        "expect text~nonsense",
        "expect txt=2",
        "expect https=0",
        "expect log=notice",
        "expect log~nonsense",
        "expect expires=6d",
        "expect done=1",
        "set nonsense=1; expect enforce",
        "https=vector:nonsense; expect enforce",
        "dns example.test NONSENSE; expect enforce",
        "address=10.0.0.1,silent; expect enforce",
    ] {
        let fault = play(wrong).expect(wrong);
        assert!(fault.starts_with("wrong.scene:3: "), "{wrong}: {fault}");
    }
}
