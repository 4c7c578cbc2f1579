//! `mtasts doctor` against directories, a small internet and a real Exim, each as it should be and with a fault.

use mtasts_world::{Answer, World, policy_body};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, Weak};
use tempfile::TempDir;

const EXIM: &str = "/usr/sbin/exim4";
const SETTINGS: &str = "\
dc_other_hostnames='sender.test'
dc_local_interfaces='127.0.0.1'
dc_readhost='sender.test'
dc_relay_domains='relayed.test'
dc_minimaldns='false'
dc_relay_nets=''
dc_smarthost='smarthost.test'
CFILEMODE='644'
dc_hide_mailname='false'
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
";

/// Whether a part of the machine that a test needs is there; if not, says so or fails.
fn has(what: &str, is_there: bool) -> bool {
    if !is_there {
        println!("SKIPPED: {what}");
        assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids that");
    }
    is_there
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn has_exim() -> bool {
    has("not root", is_root()) && has("exim4 is not installed", Path::new("/usr/sbin/update-exim4.conf").exists())
}

fn has_root() -> bool {
    has("not root", is_root())
}

/// A directory that everybody may look into.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// The command and the library, where everybody may look and nobody but root may write.
struct Installed {
    directory: TempDir,
}

impl Installed {
    /// One for all tests, gone with the last of them.
    fn here() -> Arc<Self> {
        static HERE: Mutex<Weak<Installed>> = Mutex::new(Weak::new());
        let mut here = HERE.lock().unwrap();
        let installed = here.upgrade().unwrap_or_else(|| {
            let directory = directory();
            let profile = Path::new(env!("CARGO_BIN_EXE_mtasts")).parent().unwrap();
            let built = [profile.join("deps/libmtasts.so"), profile.join("libmtasts.so")];
            let library = built.iter().find(|path| path.is_file()).expect("a library that was built");
            for (from, name) in
                [(library.as_path(), "libmtasts.so.0"), (env!("CARGO_BIN_EXE_mtasts").as_ref(), "mtasts")]
            {
                fs::copy(from, directory.path().join(name)).unwrap();
                fs::set_permissions(directory.path().join(name), Permissions::from_mode(0o755)).unwrap();
            }
            Arc::new(Self { directory })
        });
        *here = Arc::downgrade(&installed);
        installed
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("libmtasts.so.0")
    }

    fn command(&self) -> PathBuf {
        self.directory.path().join("mtasts")
    }
}

/// A machine with nothing wrong, on which things can be broken.
struct Machine {
    installed: Arc<Installed>,
    world: World,
    place: TempDir,
}

struct Found {
    findings: Vec<(String, String, String, String)>,
    status: Option<i32>,
}

impl Found {
    fn of(output: &Output) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let findings = String::from_utf8(output.stdout.clone()).unwrap();
        let findings = findings.lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let mend: Vec<&str> = row["mend"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
            (text(&row["check"]), text(&row["level"]), text(&row["text"]), mend.join("\n"))
        });
        let found = Self { findings: findings.collect(), status: output.status.code() };
        assert!(!found.findings.is_empty(), "{output:?}");
        found
    }

    fn is(&self, check: &str, level: &str, text: &str, mend: &str) -> bool {
        self.findings.iter().any(|finding| {
            finding.0 == check && finding.1 == level && finding.2.contains(text) && finding.3.contains(mend)
        })
    }

    #[track_caller]
    fn has(&self, check: &str, level: &str, text: &str, mend: &str) {
        assert!(self.is(check, level, text, mend), "{check} {level} {text} {mend}: {:#?}", self.findings);
        let want = i32::from(self.findings.iter().any(|finding| finding.1 == "fault"));
        assert_eq!(self.status, Some(want), "{:?}", self.findings);
    }

    /// What was found of one check, but for what is well.
    fn wrong(&self, check: &str) -> Vec<&str> {
        let wrong = self.findings.iter().filter(|finding| finding.0 == check && finding.1 != "ok");
        wrong.map(|finding| &*finding.2).collect()
    }
}

impl Machine {
    fn new() -> Self {
        let world = World::start();
        world.publish("good.test", "a1", policy_body("enforce", &["mx.good.test"], 604_800));
        let place = directory();
        let machine = Self { installed: Installed::here(), world, place };
        fs::copy(machine.world.ca_file(), machine.at("ca.pem")).unwrap();
        fs::set_permissions(machine.at("ca.pem"), Permissions::from_mode(0o644)).unwrap();
        machine.configure("");
        fs::create_dir(machine.at("cache")).unwrap();
        fs::set_permissions(machine.at("cache"), Permissions::from_mode(0o750)).unwrap();
        machine.give(&machine.at("cache"));
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Gives a file to a user that is not root, if this is root.
    fn give(&self, path: &Path) {
        if is_root() {
            let (uid, gid) = mail_user();
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    fn configure(&self, text: &str) {
        let text = format!("allow_private_addresses = true\n{text}");
        fs::write(self.at("mtasts.toml"), text).unwrap();
        fs::set_permissions(self.at("mtasts.toml"), Permissions::from_mode(0o644)).unwrap();
    }

    /// The command with the options that lead it to this machine.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.installed.command());
        command.args(arguments).env_remove("MTASTS_CONFIG").arg("--config").arg(self.at("mtasts.toml"));
        command.arg("--cache").arg(self.at("cache/cache.db")).arg("--ca-file").arg(self.at("ca.pem"));
        command.args(["--nameserver", &self.world.dns_addr().to_string()]);
        command.args(["--https-port", &self.world.https_addr().port().to_string()]);
        command
    }

    /// What the doctor finds, without an Exim unless one is named.
    fn found(&self, arguments: &[&str]) -> Found {
        let mut all = vec!["doctor", "--json"];
        if !arguments.contains(&"--exim") {
            all.extend(["--exim", "/nonexistent/exim"]);
        }
        all.extend(arguments);
        Found::of(&self.command(&all).output().unwrap())
    }

    /// A program that is a shell script.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.at(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What the doctor finds about Exim with this configuration.
    fn found_with(&self, config: &Path) -> Found {
        self.found(&["--exim", EXIM, "--exim-config", config.to_str().unwrap()])
    }
}

/// Exim's user if there is one, else another that is not root.
fn mail_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let number = |line: &str, at: usize| line.split(':').nth(at).unwrap().parse().unwrap();
    let named = |name: &str| passwd.lines().find(|line| line.split(':').next() == Some(name));
    named("Debian-exim").or_else(|| named("nobody")).map(|line| (number(line, 2), number(line, 3))).unwrap()
}

/// Debian's configuration of Exim with the files of `examples/exim` in it, as `edit` leaves it.
fn debian(place: &Path, kind: &str, is_split: bool, edit: impl Fn(&Path)) -> PathBuf {
    let etc = place.join("exim4");
    let _ = fs::remove_dir_all(&etc);
    let list = Command::new("dpkg-query").args(["-L", "exim4-config"]).output().unwrap();
    for path in String::from_utf8(list.stdout).unwrap().lines().filter(|path| path.starts_with("/etc/exim4")) {
        let copy = etc.join(path.trim_start_matches("/etc/exim4").trim_start_matches('/'));
        if Path::new(path).is_dir() {
            fs::create_dir_all(copy).unwrap();
        } else {
            fs::copy(path, copy).unwrap();
        }
    }
    let settings = format!("dc_eximconfig_configtype='{kind}'\ndc_use_split_config='{is_split}'\n{SETTINGS}");
    fs::write(etc.join("update-exim4.conf.conf"), settings).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/exim");
    for (name, folder) in [("190_mtasts", "router"), ("30_remote_smtp_mtasts", "transport")] {
        fs::copy(examples.join(name), etc.join("conf.d").join(folder).join(name)).unwrap();
    }
    let library = format!("LIBMTASTS = {}\n", Installed::here().library().display());
    fs::write(etc.join("conf.d/main/000_localmacros"), &library).unwrap();
    edit(&etc);
    let config = place.join("exim.conf");
    let made = Command::new("/usr/sbin/update-exim4.conf").arg("-d").arg(&etc).arg("-o").arg(&config).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    config
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_machine_that_is_set_up_right_has_no_fault() {
    if !has_exim() {
        return;
    }
    let machine = Machine::new();
    machine.command(&["lookup", "good.test"]).output().unwrap();
    machine.give(&machine.at("cache/cache.db"));
    for entry in fs::read_dir(machine.at("cache")).unwrap() {
        machine.give(&entry.unwrap().path());
    }
    let config = debian(machine.place.path(), "internet", true, |_| {});
    let found = machine.found_with(&config);
    assert_eq!(found.wrong("exim"), Vec::<&str>::new(), "{:#?}", found.findings);
    found.has("exim", "ok", "every remote domain is led through the router `mtasts`", "");
    found.has("exim", "ok", concat!("version ", env!("CARGO_PKG_VERSION"), " as this command"), "");
    found.has("directory", "ok", "cache.db opens and has 1 policy", "");
    found.has("resolver", "ok", "tells the record of _mta-sts.good.test in ", "");
    found.has("roots", "ok", "1 trusted root in ", "");
    found.has("timer", "ok", "the last policy was fetched", "");
    assert_eq!(found.status, Some(0), "{:#?}", found.findings);

    chown(machine.at("cache"), Some(54_321), Some(54_321)).unwrap();
    for entry in fs::read_dir(machine.at("cache")).unwrap() {
        chown(entry.unwrap().path(), Some(54_321), Some(54_321)).unwrap();
    }
    machine.found_with(&config).has("directory", "warning", "Exim receives mail as Debian-exim, who cannot write", "");
}

#[test]
fn an_unsplit_configuration_is_judged_by_what_exim_reads() {
    if !has_exim() {
        return;
    }
    let machine = Machine::new();
    let without = machine.found_with(&debian(machine.place.path(), "internet", false, |_| {}));
    without.has("exim", "fault", "no router asks libmtasts", ".include");
    // The macros beside the template are read from /etc only.
    let include = |etc: &Path| {
        let template = etc.join("exim4.conf.template");
        let folder = etc.join("conf.d");
        let text = format!(
            "LIBMTASTS = {}\n{}",
            Installed::here().library().display(),
            fs::read_to_string(&template).unwrap()
        );
        let text = [
            ("### router/200_exim4-config_primary", "router/190_mtasts"),
            ("### transport/30_exim4-config_remote_smtp", "transport/30_remote_smtp_mtasts"),
        ]
        .iter()
        .fold(text, |text, (before, file)| {
            text.replacen(before, &format!(".include {}\n{before}", folder.join(file).display()), 1)
        });
        fs::write(&template, text).unwrap();
    };
    let found = machine.found_with(&debian(machine.place.path(), "internet", false, include));
    assert_eq!(found.wrong("exim"), Vec::<&str>::new());
}

#[test]
fn exim_without_our_router_is_a_fault() {
    if !has_exim() {
        return;
    }
    let machine = Machine::new();
    let remove = |etc: &Path| fs::remove_file(etc.join("conf.d/router/190_mtasts")).unwrap();
    let found = machine.found_with(&debian(machine.place.path(), "internet", true, remove));
    found.has("exim", "fault", "no router asks libmtasts", "190_mtasts");
    found.has("exim", "fault", "`dnslookup_relay_to_domains` takes remote domains", "30_remote_smtp_mtasts");
    let smart = machine.found_with(&debian(machine.place.path(), "smarthost", true, |_| {}));
    smart.has("exim", "fault", "only the smarthost can enforce policies", "");
    let local = machine.found_with(&debian(machine.place.path(), "local", true, |_| {}));
    local.has("exim", "warning", "there is nothing to protect", "");
}

#[test]
fn a_router_before_ours_that_takes_all_domains_is_a_fault() {
    if !has_exim() {
        return;
    }
    let machine = Machine::new();
    let late = |etc: &Path| {
        let routers = etc.join("conf.d/router");
        fs::rename(routers.join("190_mtasts"), routers.join("290_mtasts")).unwrap();
    };
    let found = machine.found_with(&debian(machine.place.path(), "internet", true, late));
    found.has(
        "exim",
        "fault",
        "`dnslookup` (dnslookup) comes before `mtasts` and takes every remote domain",
        "before the line `dnslookup:`",
    );
    found.has("exim", "warning", "`dnslookup_relay_to_domains` (dnslookup) comes before", "");
    let router = |text: &'static str| {
        move |etc: &Path| {
            fs::write(etc.join("conf.d/router/150_smart"), format!("smart:\n  {text}\n  transport = remote_smtp\n"))
                .unwrap()
        }
    };
    for (text, level) in [
        ("driver = manualroute\n  domains = ! +local_domains\n  route_list = * smart.test byname", Some("fault")),
        ("driver = manualroute\n  route_list = *.partner.test smart.test byname", None),
        (
            "driver = manualroute\n  domains = lsearch;/etc/group\n  route_data = ${lookup{$domain}lsearch{/etc/group}}",
            None,
        ),
        ("driver = manualroute\n  senders = *@a.test\n  route_list = * smart.test", Some("warning")),
        ("driver = manualroute\n  domains = *.com : *.org\n  route_list = * smart.test", Some("warning")),
    ] {
        let found = machine.found_with(&debian(machine.place.path(), "internet", true, router(text)));
        match level {
            Some(level) => found.has("exim", level, "`smart` (manualroute) comes before `mtasts`", ".include"),
            None => assert_eq!(found.wrong("exim"), Vec::<&str>::new(), "{text}"),
        }
    }
}

#[test]
fn a_router_or_transport_that_was_weakened_is_a_fault() {
    if !has_exim() {
        return;
    }
    let machine = Machine::new();
    for (file, from, to, want) in [
        ("transport/30_remote_smtp_mtasts", "  hosts_require_tls = *\n", "", "`hosts_require_tls`"),
        ("transport/30_remote_smtp_mtasts", "tls_verify_hosts = *", "tls_try_verify_hosts = *", "`tls_verify_hosts`"),
        ("transport/30_remote_smtp_mtasts", "multi_domain = false", "hosts_avoid_tls = *", "`hosts_avoid_tls`"),
        ("router/190_mtasts", "  more = $", "  debug_print = $", "only an empty answer may reach"),
        ("router/190_mtasts", "domains = ! +local_domains", "domains = +relay_to_domains", "leaves out remote domains"),
    ] {
        let edit = |etc: &Path| replace(&etc.join("conf.d").join(file), from, to);
        let edit = |etc: &Path| {
            // An option may stand there once only.
            if to.contains("debug_print") {
                replace(&etc.join("conf.d").join(file), "  debug_print = \"R: mtasts for $local_part@$domain\"\n", "");
            }
            edit(etc);
        };
        let found = machine.found_with(&debian(machine.place.path(), "internet", true, edit));
        found.has("exim", "fault", want, "reload exim4");
        assert!(!found.is("exim", "ok", "every remote domain is led", ""));
    }
    let except = |etc: &Path| {
        let router = etc.join("conf.d/router/190_mtasts");
        replace(&router, "domains = ! +local_domains", "domains = ! +local_domains : ! a.test");
    };
    let found = machine.found_with(&debian(machine.place.path(), "internet", true, except));
    found.has("exim", "warning", "leaves out `a.test`", "reload exim4");
    let jump = |etc: &Path| {
        let text = "early:\n  driver = redirect\n  domains = +local_domains\n  data = x@a.test\n  redirect_router = dnslookup\n";
        fs::write(etc.join("conf.d/router/150_early"), text).unwrap();
    };
    let found = machine.found_with(&debian(machine.place.path(), "internet", true, jump));
    found.has("exim", "warning", "`redirect_router = dnslookup` of the router `early` leads mail past", "reload exim4");
    assert!(!found.is("exim", "ok", "every remote domain is led", ""));
}

#[test]
fn a_library_that_is_not_there_or_that_others_may_write_is_a_fault() {
    if !has_exim() {
        return;
    }
    let machine = Machine::new();
    let library = machine.at("libmtasts.so.0");
    let name = |path: PathBuf| {
        move |etc: &Path| {
            fs::write(etc.join("conf.d/main/000_localmacros"), format!("LIBMTASTS = {}\n", path.display())).unwrap()
        }
    };
    let found = machine.found_with(&debian(machine.place.path(), "internet", true, name(library.clone())));
    found.has("exim", "fault", "libmtasts.so.0, which Exim is to load, is not there", "LIBMTASTS = ");

    fs::write(&library, "no library").unwrap();
    fs::set_permissions(&library, Permissions::from_mode(0o777)).unwrap();
    let config = debian(machine.place.path(), "internet", true, name(library.clone()));
    machine.found_with(&config).has("exim", "fault", "it was not tried", "chmod o-w ");
    fs::set_permissions(&library, Permissions::from_mode(0o755)).unwrap();
    machine.found_with(&config).has("exim", "fault", "libmtasts.so.0 is no shared library", "make install");
}

#[test]
fn an_exim_that_is_absent_broken_or_hangs_keeps_nothing_else_from_being_checked() {
    let machine = Machine::new();
    machine.found(&[]).has("exim", "unknown", "there is no Exim at /nonexistent/exim", "");
    let hostile = machine.script("hostile", r"printf 'Exim version \033[2J\n\033]0;x\007bad\n' >&2; exit 1");
    let output = machine.command(&["doctor", "--exim", &hostile]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("does not read its configuration: Exim version \\u{1b}[2J"), "{shown}");
    assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
    let plain = machine.script("plain", "echo 'Exim version 4.96 #2'; echo 'Support for: IPv6'");
    machine.found(&["--exim", &plain]).has("exim", "fault", "built without `Expand_dlfunc`", "exim4-daemon-heavy");
    let debian = machine.script(
        "debian",
        "case $1 in -bV) echo 'Exim version 4.96 #2'; echo 'Support for: Expand_dlfunc GnuTLS'\n\
         echo 'Configuration file is /var/lib/exim4/config.autogenerated';;\n\
         -bP) test $2 != routers || printf '\\ndnslookup router:\\ndriver = dnslookup\\n';; esac",
    );
    machine.found(&["--exim", &debian]).has("exim", "fault", "no router asks libmtasts", "update-exim4.conf && ");
    let hanging = machine.script("hanging", "exec sleep 600");
    let found = machine.found(&["--exim", &hanging]);
    found.has("exim", "fault", "did not answer within 10 seconds and was ended", "");
    found.has("roots", "ok", "1 trusted root", "");
}

#[test]
fn each_fault_of_the_configuration_is_told_and_the_rest_is_checked_all_the_same() {
    let machine = Machine::new();
    machine.configure("observ = true\nobserve = true\ntimeout_seconds = \"x\"\n");
    let found = machine.found(&[]);
    found.has("configuration", "fault", "line 2: key `observ` is not known", "editor /");
    found.has("configuration", "fault", "line 4: key `timeout_seconds`", "");
    found.has("configuration", "warning", "`observe = true`: nothing is enforced", "");
    found.has("directory", "ok", "cache.db is not there yet", "");
    machine.configure("");
    fs::set_permissions(machine.at("mtasts.toml"), Permissions::from_mode(0o666)).unwrap();
    machine.found(&[]).has("configuration", "fault", "may be written by everybody", "chmod go-w ");
    for wrong in [["--set", "nonsense=1"], ["--domain", "a b"]] {
        let output = machine.command(&[&["doctor"], &wrong[..]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "a wrong command line is no finding: {wrong:?}");
    }
}

#[test]
fn a_directory_that_is_missing_or_open_is_told_with_its_mend() {
    let machine = Machine::new();
    let missing = machine.at("missing/cache.db");
    let found = machine.found(&["--set", &format!("cache={}", missing.display())]);
    found.has("directory", "fault", "missing does not exist", "install -d -m 0750 -o ");
    assert!(!machine.at("missing").exists(), "nothing is made");
    fs::set_permissions(machine.at("cache"), Permissions::from_mode(0o777)).unwrap();
    machine.found(&[]).has("directory", "fault", "may be written by everybody", "chmod 0750 ");
}

#[test]
fn what_root_has_left_in_the_directory_is_a_fault() {
    if !has_root() {
        return;
    }
    let machine = Machine::new();
    let file = machine.at("cache/cache.db");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    machine.found(&[]).has("directory", "fault", "cache.db belongs to root", "chown ");
    chown(machine.at("cache"), Some(0), Some(0)).unwrap();
    machine.found(&[]).has(
        "directory",
        "fault",
        "cache belongs to root: the user that delivers mail cannot",
        "install -d -m 0750 -o ",
    );
}

#[test]
fn a_damaged_cache_is_told_and_left_as_it_is() {
    let machine = Machine::new();
    let file = machine.at("cache/cache.db");
    fs::write(&file, "garbage ".repeat(1000)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    machine.give(&file);
    machine.found(&[]).has("directory", "fault", "cannot be used: is damaged", "mv ");
    assert_eq!(fs::read(&file).unwrap(), "garbage ".repeat(1000).into_bytes());
    assert_eq!(fs::read_dir(machine.at("cache")).unwrap().count(), 1);
}

#[test]
fn a_resolver_that_fails_is_a_fault_and_one_that_tells_nothing_a_warning() {
    let machine = Machine::new();
    machine.found(&["--domain", "good.test"]).has("resolver", "ok", "_mta-sts.good.test", "");
    machine.found(&["--domain", "absent.test"]).has(
        "resolver",
        "warning",
        "no TXT record at _mta-sts.absent.test",
        "dig TXT",
    );
    machine.world.dns("_mta-sts.servfail.test", Answer::ServFail);
    machine.found(&["--domain", "servfail.test"]).has("resolver", "fault", "Server Failure", "nameservers = ");
    machine.world.dns_off(true);
    let silent = ["--domain", "good.test", "--set", "dns_timeout_seconds=1"];
    machine.found(&silent).has("resolver", "fault", "no answer from DNS in time", "");
}

#[test]
fn the_timer_is_judged_by_what_systemd_says() {
    let machine = Machine::new();
    let systemd = |enabled: &str, active: &str| {
        let answers = format!(
            "case $1 in is-enabled) echo {enabled};; is-active) echo {active};; show) echo Result=success;; esac"
        );
        machine.found(&["--systemctl", &machine.script("systemctl", &answers)])
    };
    systemd("enabled", "active").has("timer", "ok", "is enabled and runs", "");
    systemd("disabled", "inactive").has(
        "timer",
        "warning",
        "is disabled and inactive",
        "systemctl enable --now mtasts-refresh.timer",
    );
    systemd("", "inactive").has("timer", "warning", "knows no mtasts-refresh.timer", "make install");
    let absent =
        machine.script("systemctl", "echo 'System has not been booted with systemd as init system' >&2; exit 1");
    machine.found(&["--systemctl", &absent]).has("timer", "unknown", "not been booted with systemd", "/etc/cron.d/");
}

#[test]
fn roots_that_cannot_be_read_are_a_fault() {
    let machine = Machine::new();
    fs::write(machine.at("empty.pem"), "").unwrap();
    let found = machine.found(&["--set", &format!("ca_file={}", machine.at("empty.pem").display())]);
    found.has("roots", "fault", "holds no usable certificate", "ca_file = ");
}

#[test]
fn an_ordinary_user_is_told_what_only_root_can_see() {
    if !has_root() {
        return;
    }
    let machine = Machine::new();
    let mut command = machine.command(&["doctor", "--json", "--exim", "/nonexistent/exim", "--domain", "good.test"]);
    let found = Found::of(&command.uid(54_321).gid(54_321).current_dir("/").output().unwrap());
    found.has("directory", "unknown", "for root to see", "");
    found.has("resolver", "ok", "_mta-sts.good.test", "");
    assert_eq!(found.status, Some(0), "{:#?}", found.findings);
    if !has_exim() {
        return;
    }
    let config = debian(machine.place.path(), "internet", true, |_| {});
    let ask = |uid| {
        let arguments = ["doctor", "--json", "--exim", EXIM, "--exim-config", config.to_str().unwrap()];
        let mut command = machine.command(&arguments);
        Found::of(&command.uid(uid).gid(uid).current_dir("/").output().unwrap())
    };
    assert_eq!(ask(65_534).wrong("exim"), Vec::<&str>::new());
    // Exim refuses to work for a user without a name.
    let nameless = ask(54_321);
    assert!(
        nameless.is("exim", "unknown", "works for nobody without a name", "") && nameless.status == Some(0),
        "{:#?}",
        nameless.findings
    );
}

#[test]
fn the_text_ends_with_a_count_and_has_no_colour_in_a_pipe() {
    let machine = Machine::new();
    let run = || machine.command(&["doctor", "--exim", "/nonexistent/exim", "--domain", "good.test"]).output().unwrap();
    let output = run();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("configuration\n  "), "{shown}");
    assert!(shown.contains("\nexim\n  unknown  there is no Exim at /nonexistent/exim\n"), "{shown}");
    assert!(shown.lines().last().unwrap().starts_with("no faults, "), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown:?}");
    fs::remove_dir(machine.at("cache")).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().lines().last().unwrap().starts_with("1 fault, "));
}

#[test]
fn help_has_examples_and_the_exit_status() {
    let output = Command::new(env!("CARGO_BIN_EXE_mtasts")).args(["doctor", "--help"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("Examples:\n  mtasts doctor  ") && shown.contains("1 a fault was found"), "{shown}");
    assert!(!shown.contains("systemctl"), "{shown}");
}
