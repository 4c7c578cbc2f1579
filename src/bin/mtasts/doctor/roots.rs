//! The trusted roots by which policy hosts are verified.

use super::finding::{Finding, word};
use super::owner::{MailUser, READ};
use mtasts::tls::Roots;
use std::fs;
use std::path::Path;

/// A system that trusts fewer than this has lost most of its roots.
const FEW: usize = 20;

/// Whether the user that delivers mail can read `ca_file`.
pub fn readable(ca_file: Option<&Path>, user: &MailUser) -> Option<Finding> {
    let path = ca_file?;
    let found = fs::metadata(path).ok()?;
    if !user.may(READ, &found) {
        let text = format!("ca_file {} cannot be read by {}", path.display(), user.name());
        return Some(Finding::fault(text).mend(format!("chmod a+r {}", word(path))));
    }
    let closed = user.is_kept_out_by(path)?;
    let text = format!("{} cannot enter {}, which leads to ca_file", user.name(), closed.display());
    Some(Finding::fault(text).mend(format!("chmod o+x {}", word(closed))))
}

/// How many there are and from where, as this user sees it.
pub fn check(ca_file: Option<&Path>) -> Finding {
    let mend = match ca_file {
        Some(_) => {
            "ca_file = \"/etc/ssl/certs/ca-certificates.crt\"   # in mtasts.toml, or without the key: the system's"
        }
        None => "apt-get install --reinstall ca-certificates && update-ca-certificates",
    };
    match Roots::find(ca_file) {
        Err(problem) => Finding::fault(problem).mend(mend),
        Ok(roots) => judge(roots.count(), &places(&roots), ca_file.is_some()).unwrap_or_else(|| {
            let text = format!(
                "only {} trusted roots in {}: many policy hosts will not verify",
                roots.count(),
                places(&roots)
            );
            Finding::warning(text).mend(mend)
        }),
    }
}

fn places(roots: &Roots) -> String {
    roots.places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" and ")
}

/// None where the system's roots are suspiciously few. Whoever names a file has chosen them.
fn judge(count: usize, places: &str, is_chosen: bool) -> Option<Finding> {
    let plural = if count == 1 { "" } else { "s" };
    (is_chosen || count >= FEW).then(|| Finding::ok(format!("{count} trusted root{plural} in {places}")))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_without_a_certificate_or_without_a_right_to_read_it_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("ca.pem");
        assert_eq!(check(Some(&path)).level, Level::Fault);
        fs::write(&path, "").unwrap();
        assert!(check(Some(&path)).text.contains("no usable certificate"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let user = MailUser { ids: Some((54_321, 54_321)), exim: None };
        assert!(readable(Some(&path), &user).unwrap().text.contains("cannot be read by 54321"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(readable(Some(&path), &user), None);
        assert_eq!(readable(None, &user), None);
    }

    #[test]
    fn few_roots_are_suspicious_unless_somebody_has_chosen_them() {
        assert_eq!(judge(1, "x", true).unwrap().text, "1 trusted root in x");
        assert_eq!(judge(140, "x", false).unwrap().level, Level::Ok);
        assert_eq!(judge(3, "x", false), None);
    }
}
