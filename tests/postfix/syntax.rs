//! A reader of what a policy table tells Postfix, written from its documentation alone: postconf(5),
//! `smtp_tls_policy_maps` and `smtp_tls_verify_cert_match`, and TLSRPT_README.

/// A result of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub level: String,
    /// The elements of `match`, none of which has a meaning of its own.
    pub names: Vec<String>,
    pub server_name: Option<String>,
    pub sts: Option<Sts>,
}

/// The policy behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sts {
    pub domain: String,
    pub patterns: Vec<String>,
    /// The lines of the policy.
    pub lines: Vec<String>,
}

/// Reads it as Postfix 3.`minor` does.
pub fn read(text: &str, minor: u32) -> Result<Told, String> {
    let words = words(text)?;
    let (level, attributes) = words.split_first().ok_or("no level")?;
    let mut told = Told { level: level.clone(), names: Vec::new(), server_name: None, sts: None };
    let (mut policy_type, mut domain, mut patterns, mut lines) = (None, None, Vec::new(), Vec::new());
    for attribute in attributes {
        let inner = attribute.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let (name, value) = inner.unwrap_or(attribute).split_once('=').ok_or_else(|| format!("no = in {attribute}"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("{attribute} has an empty part"));
        }
        match name {
            "match" => told.names.extend(value.split(':').map(str::to_owned)),
            "servername" => once(&mut told.server_name, name, value)?,
            "policy_type" if minor >= 10 => once(&mut policy_type, name, value)?,
            "policy_domain" if minor >= 10 => once(&mut domain, name, value)?,
            "mx_host_pattern" if minor >= 10 => patterns.push(value.to_owned()),
            "policy_string" if minor >= 10 => lines.push(value.to_owned()),
            // What else there is, such as `policy_failure`, has no business here.
            _ => return Err(format!("invalid attribute name: {name}")),
        }
    }
    let is_name = |name: &String| {
        let name = name.strip_prefix('.').unwrap_or(name);
        !matches!(name, "" | "hostname" | "nexthop" | "dot-nexthop")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    if told.level != "secure" || told.names.is_empty() || !told.names.iter().all(is_name) {
        return Err(format!("{} {:?} verifies nothing", told.level, told.names));
    }
    told.sts = match (policy_type.as_deref(), domain) {
        // "It is an error to specify these attributes for a non-STS policy."
        (None, None) if patterns.is_empty() && lines.is_empty() => None,
        // Without one of each, releases before 3.10.6 crash.
        (Some("sts"), Some(domain)) if !patterns.is_empty() && !lines.is_empty() => {
            Some(Sts { domain, patterns, lines })
        }
        _ => return Err(format!("half a policy of type {policy_type:?}")),
    };
    Ok(told)
}

/// "Only one instance per policy."
fn once(place: &mut Option<String>, name: &str, value: &str) -> Result<(), String> {
    match place.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is specified twice")),
    }
}

/// "A list of whitespace and/or comma separated name=value attributes"; `{ name = value }` where the value has whitespace.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0_usize);
    for character in text.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1).ok_or("an unopened }")?,
            _ => {}
        }
        if depth == 0 && matches!(character, ' ' | '\t' | '\r' | '\n' | ',') {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        } else {
            word.push(character);
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    if depth == 0 { Ok(words) } else { Err("an unclosed {".to_owned()) }
}
