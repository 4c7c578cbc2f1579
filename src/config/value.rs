//! A value of the configuration, from TOML or from text, on its way to its key.

use super::OnTrouble;
use crate::syntax::{Mode, MxPattern};
use crate::time::UnixTime;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

const DNS_PORT: u16 = 53;
/// A line of text goes into answers, log lines and what Exim tells of a message.
const MAX_LINE_BYTES: usize = 200;

/// Systems take no longer names of users.
const MAX_USER_BYTES: usize = 256;

/// A value on its way to its key. A conversion that fails returns what would have been right.
pub enum Value {
    Text(String),
    Integer(Option<i64>),
    Boolean(bool),
    /// A date or a moment as it is written, and its last second if it has one.
    Date(String, Option<UnixTime>),
    List(Vec<Value>),
    /// From the API, where every value comes as text.
    Typed(String),
    /// A TOML type that no key takes.
    Other(&'static str),
}

impl Value {
    pub fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(digits) => Self::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok()),
            DeValue::Boolean(choice) => Self::Boolean(*choice),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect()),
            DeValue::Float(_) => Self::Other("a float"),
            DeValue::Datetime(moment) => Self::Date(moment.to_string(), last_second(value)),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Typed(text) => Some(text),
            _ => None,
        }
    }

    pub fn path(&self) -> Result<PathBuf, String> {
        let absolute = self.text().map(Path::new).filter(|path| path.is_absolute() && path.file_name().is_some());
        let has_nul = self.text().is_some_and(|text| text.contains('\0'));
        absolute.filter(|_| !has_nul).map(Path::to_owned).ok_or_else(|| "the absolute path of a file".to_owned())
    }

    /// The name of a user, or its number.
    pub fn user(&self) -> Result<String, String> {
        let wanted = "the name or the number of the user that delivers mail, not root";
        let user = match self {
            Self::Integer(Some(number)) => number.to_string(),
            _ => self.text().unwrap_or_default().to_owned(),
        };
        let is_name = user.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') && !user.starts_with('-');
        let is_root = user == "root" || user.bytes().all(|byte| byte == b'0');
        if is_name && !is_root && user.len() <= MAX_USER_BYTES { Ok(user) } else { Err(wanted.to_owned()) }
    }

    pub fn number(&self, least: u64, most: u64) -> Result<u64, String> {
        let number = match self {
            Self::Integer(number) => number.and_then(|number| u64::try_from(number).ok()),
            Self::Typed(text) => text.parse().ok(),
            _ => None,
        };
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("a whole number from {least} to {most}"))
    }

    pub fn seconds(&self, most: u64) -> Result<Duration, String> {
        self.number(1, most).map(Duration::from_secs).map_err(|wanted| format!("{wanted} (seconds)"))
    }

    pub fn boolean(&self) -> Result<bool, String> {
        match self {
            Self::Boolean(choice) => Ok(*choice),
            Self::Typed(text) if text == "true" => Ok(true),
            Self::Typed(text) if text == "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }

    pub fn on_trouble(&self) -> Result<OnTrouble, String> {
        match self.text() {
            Some("proceed") => Ok(OnTrouble::Proceed),
            Some("defer") => Ok(OnTrouble::Defer),
            _ => Err("\"proceed\" or \"defer\"".to_owned()),
        }
    }

    pub fn mode(&self) -> Result<Mode, String> {
        [Mode::None, Mode::Testing, Mode::Enforce]
            .into_iter()
            .find(|mode| self.text() == Some(mode.as_str()))
            .ok_or_else(|| "\"none\", \"testing\" or \"enforce\"".to_owned())
    }

    /// What the `mx` lines of a policy have (RFC 8461 section 3.2).
    pub fn patterns(&self) -> Result<Vec<MxPattern>, String> {
        let wanted = "a list of host names in A-labels without a final dot, or `*.` and a domain";
        let items: Option<Vec<&str>> = match self {
            Self::List(items) if !items.is_empty() => items.iter().map(Self::text).collect(),
            _ => None,
        };
        let pattern = |item: &str| match MxPattern::parse(item.as_bytes()) {
            Ok(pattern) if pattern.is_dead() => Err(format!("{wanted}; no host matches `{pattern}`")),
            Ok(pattern) => Ok(pattern),
            Err(error) => Err(format!("{wanted}; of `{}`, {error}", item.escape_default())),
        };
        items.ok_or_else(|| wanted.to_owned())?.into_iter().map(pattern).collect()
    }

    /// The last second of a date, or the second of a moment; what has no offset is UTC.
    pub fn last_second(&self) -> Result<UnixTime, String> {
        let moment = match self {
            Self::Date(_, moment) => *moment,
            _ => self.text().and_then(|text| last_second(DeValue::parse(text).ok()?.get_ref())),
        };
        moment.ok_or_else(|| {
            "a date such as 2026-12-31 (to the end of that day, UTC) or a moment such as 2026-12-31T18:00:00Z"
                .to_owned()
        })
    }

    pub fn line_of_text(&self) -> Result<String, String> {
        let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        self.text()
            .filter(|text| !text.contains(is_break))
            .map(|text| text.trim().to_owned())
            .filter(|text| (1..=MAX_LINE_BYTES).contains(&text.len()))
            .ok_or_else(|| format!("one line of 1 to {MAX_LINE_BYTES} bytes without control characters"))
    }

    pub fn nameservers(&self) -> Result<Vec<SocketAddr>, String> {
        let wanted = "a list of addresses, each `IP`, `IPv4:PORT` or `[IPv6]:PORT`";
        let items: Option<Vec<&str>> = match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            Self::Typed(text) => {
                Some(text.split([',', ' ', '\t']).map(str::trim).filter(|item| !item.is_empty()).collect())
            }
            Self::Text(text) => Some(vec![text]),
            _ => None,
        };
        let address = |item: &str| match item.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => {
                let bare = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(item);
                bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT))
            }
        };
        items.and_then(|items| items.into_iter().map(address).collect()).ok_or_else(|| wanted.to_owned())
    }
}

fn last_second(value: &DeValue<'_>) -> Option<UnixTime> {
    let moment = value.as_datetime()?;
    let date = moment.date?;
    let Some(time) = moment.time else {
        return UnixTime::from_utc(date.year, date.month, date.day, 23, 59, 59);
    };
    // Unix time does not count leap seconds.
    let second = time.second.unwrap_or(0).min(59);
    let local = UnixTime::from_utc(date.year, date.month, date.day, time.hour, time.minute, second)?;
    let ahead = moment.offset.map_or(Some(0), |offset| seconds_ahead(&offset.to_string()))?;
    Some(UnixTime(local.0.saturating_sub(ahead)))
}

/// What `+02:00` or `Z` is ahead of UTC.
fn seconds_ahead(offset: &str) -> Option<i64> {
    if offset == "Z" {
        return Some(0);
    }
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = hours.parse::<i64>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
    let seconds = minutes.checked_mul(60)?;
    Some(if offset.starts_with('-') { seconds.saturating_neg() } else { seconds })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{}\"", text.escape_default()),
            Self::Typed(text) => write!(f, "`{}`", text.escape_default()),
            Self::Integer(Some(number)) => write!(f, "{number}"),
            Self::Integer(None) => f.write_str("a number that is too large"),
            Self::Boolean(choice) => write!(f, "{choice}"),
            Self::Date(text, _) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}
