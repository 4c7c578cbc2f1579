//! The numbers of a cache, for people and for Prometheus.

use super::*;

#[test]
fn stats_count_every_row_once() {
    let host = Host::new().with(&five());
    let row = &host.run(&["stats", "--json"]).json()[0];
    let number = |name: &str| row[name].as_u64().unwrap();
    let kinds = ["enforce", "testing", "none", "expired", "absent"].map(number);
    assert_eq!((number("domains"), kinds), (5, [1, 1, 1, 1, 1]));
    assert_eq!((number("due"), number("failing"), number("unreadable")), (1, 1, 0));
    let size = std::fs::metadata(host.cache()).unwrap().len();
    assert_eq!((number("file_bytes"), number("bytes_a_row")), (size, size / 5));
    assert_eq!(number("newest_fetched_at") - number("oldest_fetched_at"), u64::try_from(9 * DAY - 60).unwrap());
    let human = host.run(&["stats"]).out;
    assert!(human.starts_with("domains       5\n  enforce     1\n"), "{human}");
    assert!(human.contains("\noldest fetch  ") && human.contains("(9 days ago)"), "{human}");
}

/// Reads the text exposition format 0.0.4 as strictly as can be: each sample below HELP and TYPE of its metric, each metric
/// in one place, nothing else.
fn metrics(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
    };
    let mut samples = HashMap::new();
    let mut done = HashSet::new();
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, explained) = help.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(is_name(name) && name.starts_with("mtasts_") && done.insert(name.to_owned()), "{help}");
        assert!(!explained.is_empty() && !explained.contains('\\'));
        assert_eq!(lines.next(), Some(&*format!("# TYPE {name} gauge")));
        let mut count = 0;
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').unwrap();
            let rest = series.strip_prefix(name).unwrap();
            if !rest.is_empty() {
                let label = rest.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
                let (label, quoted) = label.split_once('=').unwrap();
                let value = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
                assert!(is_name(label) && !label.contains(':') && value.bytes().all(|byte| byte.is_ascii_lowercase()));
            }
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
            count += 1;
        }
        assert!(count > 0, "{name} has no sample");
    }
    samples
}

#[test]
fn the_metrics_are_valid_and_appear_as_a_whole() {
    let host = Host::new().with(&five());
    let printed = host.run(&["stats", "--prometheus"]).out;
    let samples = metrics(&printed);
    for kind in ["enforce", "testing", "none", "expired", "absent"] {
        assert_eq!(samples[&format!("mtasts_cache_domains{{policy=\"{kind}\"}}")], 1.0);
    }
    assert_eq!((samples["mtasts_cache_due_policies"], samples["mtasts_cache_failing_domains"]), (1.0, 1.0));
    assert!(
        samples["mtasts_cache_oldest_fetch_timestamp_seconds"] < samples["mtasts_cache_newest_fetch_timestamp_seconds"]
    );

    let directory = host.path("textfile");
    std::fs::DirBuilder::new().mode(0o755).create(&directory).unwrap();
    own(&directory);
    let file = directory.join("mtasts.prom");
    std::fs::write(&file, "old\n").unwrap();
    let before = std::fs::metadata(&file).unwrap().ino();
    let write = || host.run(&["stats", "--prometheus", "--output", file.to_str().unwrap()]);
    let done = write();
    assert_eq!((done.status, &*done.out, &*done.err), (0, "", ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    let found = std::fs::metadata(&file).unwrap();
    assert!(found.ino() != before && found.permissions().mode() & 0o777 == 0o644);

    let stats = host.command(&["stats", "--prometheus", "--output", file.to_str().unwrap()]);
    let mut careful = Command::new("sh");
    careful.args(["-c", "umask 077 && exec \"$@\"", "sh"]).arg(stats.get_program()).args(stats.get_args());
    assert!(careful.status().unwrap().success());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "the node exporter reads it whatever umask root has");

    host.run(&["purge", "--all"]);
    let empty = metrics(&host.run(&["stats", "--prometheus"]).out);
    assert!(!empty.contains_key("mtasts_cache_oldest_fetch_timestamp_seconds") && empty.len() == 9);
    host.damage();
    assert_eq!(write().status, 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed, "what cannot be counted leaves the file");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no draft is left");
    assert_eq!(host.run(&["stats", "--output", file.to_str().unwrap()]).status, 2);
}
