//! `make install` and `make uninstall`: what lies where, and that C programs which ask pkg-config get what they need.

#[allow(dead_code)]
#[path = "c/harness.rs"]
mod harness;
#[path = "install/place.rs"]
mod place;

use harness::{Host, inspect, library, root};
use place::{Place, compile};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::LazyLock;

/// For tests that change nothing in it.
static USUAL: LazyLock<Place> = LazyLock::new(|| Place::lasting(&[]));

/// What is installed, without the manuals; those are the matter of `tests/manual.rs`.
const FILES: [(&str, &str); 18] = [
    ("/usr/local/bin/mtasts", "755"),
    ("/usr/local/include/mtasts.h", "644"),
    ("/usr/local/lib/libmtasts.a", "644"),
    ("/usr/local/lib/libmtasts.so", "-> libmtasts.so.0"),
    ("/usr/local/lib/libmtasts.so.0", "-> libmtasts.so.VERSION"),
    ("/usr/local/lib/libmtasts.so.VERSION", "644"),
    ("/usr/local/lib/pkgconfig/mtasts.pc", "644"),
    ("/usr/local/lib/systemd/system/mtasts-refresh.service", "644"),
    ("/usr/local/lib/systemd/system/mtasts-refresh.timer", "644"),
    ("/usr/local/lib/systemd/system/mtasts-socketmap.service", "644"),
    ("/usr/local/lib/systemd/system/mtasts-socketmap.socket", "644"),
    ("/usr/local/sbin/mtasts-socketmap", "755"),
    ("/usr/local/share/bash-completion/completions/mtasts", "644"),
    ("/usr/local/share/doc/libmtasts/mtasts.toml", "644"),
    ("/usr/local/share/fish/vendor_completions.d/mtasts.fish", "644"),
    ("/usr/local/share/man/man1/mtasts.1", "644"),
    ("/usr/local/share/man/man8/mtasts-socketmap.8", "644"),
    ("/usr/local/share/zsh/site-functions/_mtasts", "644"),
];

fn versioned(text: &str) -> String {
    text.replace("VERSION", env!("CARGO_PKG_VERSION"))
}

#[test]
fn each_file_is_in_its_place_and_may_be_read_by_all() {
    let files = USUAL.files();
    let is_other_manual = |file: &str| file.contains("/man/") && !file.contains("/man1/") && !file.contains("/man8/");
    let found: Vec<(String, String)> =
        files.iter().filter(|(file, _)| !is_other_manual(file)).map(|(a, b)| (a.clone(), b.clone())).collect();
    assert_eq!(found, FILES.map(|(file, about)| (versioned(file), versioned(about))));
    for (file, about) in files.iter().filter(|(file, _)| is_other_manual(file)) {
        assert_eq!(about, "644", "{file}");
    }
}

#[test]
fn files_are_the_ones_of_the_sources_and_completions_are_whole() {
    for (installed, source) in [
        ("/usr/local/include/mtasts.h", "include/mtasts.h"),
        ("/usr/local/share/doc/libmtasts/mtasts.toml", "examples/mtasts.toml"),
        ("/usr/local/lib/systemd/system/mtasts-refresh.timer", "packaging/systemd/mtasts-refresh.timer"),
        ("/usr/local/lib/systemd/system/mtasts-socketmap.socket", "packaging/systemd/mtasts-socketmap.socket"),
        ("/usr/local/share/man/man8/mtasts-socketmap.8", "doc/man/mtasts-socketmap.8"),
    ] {
        assert_eq!(fs::read(USUAL.path(installed)).unwrap(), fs::read(root().join(source)).unwrap(), "{installed}");
    }
    for file in USUAL.files().into_keys().filter(|file| file.contains("completion") || file.contains("functions")) {
        assert!(fs::read_to_string(USUAL.path(&file)).unwrap().contains("lookup"), "{file}");
    }
}

#[test]
fn uninstall_removes_what_install_put_there_and_nothing_else() {
    let place = Place::installed(&["PREFIX=/opt/mta-sts", "LIBDIR=/opt/mta-sts/lib64"]);
    let others = ["/opt/mta-sts/lib64/libmtasts.so.9", "/opt/mta-sts/share/man/man3/other.3"];
    for other in others {
        fs::write(place.path(other), "").unwrap();
    }
    place.make("uninstall");
    assert_eq!(place.files().into_keys().collect::<Vec<_>>(), others);
    assert!(!place.path("/opt/mta-sts/share/doc/libmtasts").exists());
    place.make("uninstall");
}

#[test]
fn a_file_that_others_put_beside_the_sample_stays() {
    let place = Place::installed(&[]);
    let note = "/usr/local/share/doc/libmtasts/note";
    fs::write(place.path(note), "").unwrap();
    place.make("uninstall");
    assert_eq!(place.files().into_keys().collect::<Vec<_>>(), [note]);
}

#[test]
fn each_directory_can_be_chosen_and_pkg_config_knows_them() {
    let place = Place::installed(&[
        "PREFIX=/usr",
        "LIBDIR=/usr/lib/some-triplet",
        "INCLUDEDIR=/elsewhere/include",
        "MANDIR=/m",
        "BINDIR=/b",
        "SBINDIR=/s",
        "UNITDIR=/u",
        "DOCDIR=/d",
        "BASHDIR=/c/bash",
        "ZSHDIR=/c/zsh",
        "FISHDIR=/c/fish",
    ]);
    let files = place.files();
    let tops: BTreeSet<&str> = files.keys().map(|file| file.rsplit_once('/').unwrap().0).collect();
    let wanted = [
        "/b",
        "/c/bash",
        "/c/fish",
        "/c/zsh",
        "/d",
        "/elsewhere/include",
        "/m/man1",
        "/m/man3",
        "/m/man5",
        "/m/man8",
        "/s",
        "/u",
        "/usr/lib/some-triplet",
        "/usr/lib/some-triplet/pkgconfig",
    ];
    assert_eq!(tops, BTreeSet::from(wanted));
    let text = fs::read_to_string(place.path("/usr/lib/some-triplet/pkgconfig/mtasts.pc")).unwrap();
    for line in ["prefix=/usr", "libdir=${prefix}/lib/some-triplet", "includedir=/elsewhere/include"] {
        assert!(text.lines().any(|have| have == line), "no line `{line}` in\n{text}");
    }
    assert!(!text.contains('@'), "{text}");
    place.make("uninstall");
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn pkg_config_tells_version_directories_and_libraries() {
    assert_eq!(USUAL.pkg_config(&["--validate", "mtasts"]), "");
    assert_eq!(USUAL.pkg_config(&["--modversion", "mtasts"]), env!("CARGO_PKG_VERSION"));
    let root = USUAL.root().display().to_string();
    assert_eq!(USUAL.pkg_config(&["--cflags", "mtasts"]), format!("-I{root}/usr/local/include"));
    assert_eq!(USUAL.pkg_config(&["--libs", "mtasts"]), format!("-L{root}/usr/local/lib -lmtasts"));
    let private = USUAL.pkg_config(&["--static", "--libs", "mtasts"]);
    for library in native_static_libs() {
        assert!(private.contains(&library), "{private} lacks {library}");
    }
}

/// What the compiler says that a program needs which is linked with a static library.
fn native_static_libs() -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("nothing.rs");
    fs::write(&source, "").unwrap();
    let output = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
        .args(["--crate-type", "staticlib", "--print", "native-static-libs", "-o"])
        .arg(directory.path().join("nothing.a"))
        .arg(&source)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("note: native-static-libs: ")).unwrap().to_owned();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_program_that_asks_pkg_config_finds_the_shared_library_by_its_abi() {
    let host = Host::new();
    let program = host.path("lookup");
    compile("examples/c/lookup.c", &program, &USUAL.pkg_config(&["--cflags", "--libs", "mtasts"]));
    let needed = Command::new("readelf").args(["--dynamic", "--wide"]).arg(&program).output().unwrap();
    assert!(String::from_utf8_lossy(&needed.stdout).contains("[libmtasts.so.0]"));
    let path = format!("LD_LIBRARY_PATH={}", USUAL.path("/usr/local/lib").display());
    let run = host.run(&["env", &path, program.to_str().unwrap(), "good.test"]);
    let right = "good.test: enforce mx.good.test:*.backup.test\n";
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (Some(0), right, ""));
}

#[test]
fn the_static_library_has_the_functions_of_the_header_as_its_only_global_names() {
    let output = Command::new("nm")
        .args(["--extern-only", "--defined-only", "--format=posix"])
        .arg(USUAL.path("/usr/local/lib/libmtasts.a"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = said.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name).collect();
    let symbols = fs::read_to_string(root().join("abi/symbols.txt")).unwrap();
    assert_eq!(names, symbols.lines().collect::<Vec<_>>());
}

#[test]
fn a_program_with_the_static_library_has_a_sqlite_of_its_own_beside_it() {
    let Ok(versions) = Command::new("pkg-config").args(["--modversion", "sqlite3"]).output() else {
        panic!("pkg-config is not installed");
    };
    if !versions.status.success() {
        assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "libsqlite3-dev is not installed");
        println!("SKIPPED: libsqlite3-dev is not installed");
        return;
    }
    let host = Host::new();
    let program = host.path("beside_sqlite");
    let options = USUAL.pkg_config(&["--static", "--cflags", "--libs", "mtasts", "sqlite3"]);
    // The directory has both kinds of library, and the linker prefers the shared one.
    compile("tests/c/beside_sqlite.c", &program, &options.replace("-lmtasts", "-l:libmtasts.a"));
    let needed = Command::new("readelf").args(["--dynamic", "--wide"]).arg(&program).output().unwrap();
    let needed = String::from_utf8_lossy(&needed.stdout);
    assert!(!needed.contains("libmtasts") && needed.contains("libsqlite3"), "{needed}");
    let version = String::from_utf8(versions.stdout).unwrap();
    let right = format!("{} {{}}\n2 mx.good.test:*.backup.test \n", version.trim());
    for _ in ["fetched", "from the cache"] {
        let run = host.run(&[program.to_str().unwrap(), "good.test"]);
        assert_eq!((run.status, run.stdout, run.stderr.as_str()), (Some(0), right.clone(), ""));
    }
    assert_eq!(host.world.https_log().len(), 1, "the second answer came out of the cache");
}

/// What cargo knows about this package.
fn package() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    all["packages"].as_array().unwrap().iter().find(|package| package["name"] == "mtasts").unwrap().clone()
}

/// What cargo-c is told makes it install files of the same names as `make install`.
#[test]
fn cargo_c_is_told_the_names_that_make_install_uses() {
    let capi = &package()["metadata"]["capi"];
    let template = fs::read_to_string(root().join("packaging/mtasts.pc.in")).unwrap();
    for (key, field) in [("name", "Name"), ("description", "Description")] {
        let told = capi["pkg_config"][key].as_str().unwrap();
        assert!(template.contains(&format!("\n{field}: {told}\n")), "{key}");
    }
    // Its names are lib, the name of the crate, .so, and so many numbers of the version.
    assert_eq!(package()["targets"][0]["name"].as_str(), Some("mtasts"));
    assert_eq!(capi["library"]["version_suffix_components"].as_u64(), Some(1));
    let soname = format!("libmtasts.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
    assert!(inspect("readelf", &["--dynamic"]).contains(&format!("[{soname}]")), "{}", library().display());
    // The header is not made anew, and does not lie in a directory of its own.
    assert_eq!(capi["header"]["generation"].as_bool(), Some(false));
    assert_eq!(capi["header"]["subdirectory"].as_bool(), Some(false));
    let header = &capi["install"]["include"]["asset"][0];
    assert_eq!((header["from"].as_str(), header["to"].as_str()), (Some("include/mtasts.h"), Some("")));
}
