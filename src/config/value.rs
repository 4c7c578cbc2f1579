//! A value of the configuration, from TOML or from text, on its way to its key.

use super::OnTrouble;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

const DNS_PORT: u16 = 53;

/// A value on its way to its key. A conversion that fails returns what would have been right.
pub enum Value {
    Text(String),
    Integer(Option<i64>),
    Boolean(bool),
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
            DeValue::Datetime(_) => Self::Other("a date"),
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

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{}\"", text.escape_default()),
            Self::Typed(text) => write!(f, "`{}`", text.escape_default()),
            Self::Integer(Some(number)) => write!(f, "{number}"),
            Self::Integer(None) => f.write_str("a number that is too large"),
            Self::Boolean(choice) => write!(f, "{choice}"),
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
