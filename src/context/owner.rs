//! Who works in place of root where a program of ours, such as the command, is started by root.

use crate::config::{ConfigError, Settings};
use crate::sys::identity::{self, Identity};
use crate::sys::privilege;
use std::io;

/// The user in whose name the cache is used, so that root leaves no file there that this user cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOwner {
    identity: Identity,
    is_stand_in: bool,
}

impl CacheOwner {
    /// Who has to work in place of root: the owner of the cache file, else the configured `user`, else the owner of
    /// the cache directory, else nobody. Never root, and nobody whom a third user could have put in that place. None if
    /// this process is not root's. The error is a `user` that there is not.
    pub fn in_place_of_root(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        if !privilege::is_root() {
            return Ok(None);
        }
        let configured = |user: &str| {
            Identity::of_user(user).map_err(|problem| {
                let problem = format!("key `user`: {problem}");
                ConfigError { path: None, line: None, problem }
            })
        };
        let found = match (Identity::of_file_owner(&settings.cache), settings.user.as_deref()) {
            (Some(owner), _) => Some(owner),
            (None, Some(user)) => Some(configured(user)?),
            (None, None) => settings.cache.parent().and_then(Identity::of_owner),
        };
        let identity = found.unwrap_or_else(Identity::nobody);
        Ok(Some(Self { identity, is_stand_in: found.is_none() }))
    }

    /// Who works in place of root where there is no cache to work with: nobody. None if this process is not root's.
    pub fn nobody_in_place_of_root() -> Option<Self> {
        privilege::is_root().then(|| Self { identity: Identity::nobody(), is_stand_in: true })
    }

    /// Makes the whole process this user, in this user's group and in no other, for good.
    pub fn assume(self) -> io::Result<()> {
        self.identity.assume()
    }

    /// Whether it is nobody, for want of a user to whom the cache belongs: there is no cache then.
    pub fn is_stand_in(self) -> bool {
        self.is_stand_in
    }

    /// The name of the user, or its number if it has none.
    pub fn name(self) -> String {
        identity::user_name(self.identity.user())
    }
}
