//! The words of a line: separated by blanks, with quotes, escapes and comments.

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub bytes: Vec<u8>,
    /// It begins with a quote, so it is a value whatever it looks like.
    pub quoted: bool,
}

impl Word {
    pub fn text(&self) -> Result<String, String> {
        String::from_utf8(self.bytes.clone())
            .map_err(|_| format!("{:?} is not UTF-8", self.bytes.escape_ascii().to_string()))
    }
}

/// Cuts a line into words; a comment ends it.
pub fn split(line: &[u8]) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.iter().copied().peekable();
    loop {
        while rest.next_if(u8::is_ascii_whitespace).is_some() {}
        let quoted = match rest.peek() {
            None | Some(b'#') => return Ok(words),
            Some(byte) => *byte == b'"',
        };
        let mut bytes = Vec::new();
        while let Some(byte) = rest.next_if(|byte| !byte.is_ascii_whitespace()) {
            match byte {
                b'"' => read_quoted(&mut rest, &mut bytes)?,
                _ => bytes.push(byte),
            }
        }
        words.push(Word { bytes, quoted });
    }
}

fn read_quoted(rest: &mut impl Iterator<Item = u8>, bytes: &mut Vec<u8>) -> Result<(), String> {
    loop {
        match rest.next().ok_or("a quote is not closed on its line, want \"...\"")? {
            b'"' => return Ok(()),
            b'\\' => bytes.push(escaped(rest)?),
            byte => bytes.push(byte),
        }
    }
}

fn escaped(rest: &mut impl Iterator<Item = u8>) -> Result<u8, String> {
    let wrong = || r#"a backslash inside quotes, want \r \n \t \\ \" or \xHH"#.to_string();
    match rest.next() {
        Some(b'r') => Ok(b'\r'),
        Some(b'n') => Ok(b'\n'),
        Some(b't') => Ok(b'\t'),
        Some(byte @ (b'\\' | b'"')) => Ok(byte),
        Some(b'x') => {
            let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
            let value = digit()? * 16 + digit()?;
            u8::try_from(value).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

/// Words of the form `key=value`, each key one of `allowed` and there once.
pub fn options(words: &[Word], allowed: &[&str]) -> Result<Vec<(String, Word)>, String> {
    let mut options: Vec<(String, Word)> = Vec::new();
    for word in words {
        let equals = word.bytes.iter().position(|byte| *byte == b'=');
        let key = String::from_utf8_lossy(&word.bytes[..equals.unwrap_or(word.bytes.len())]).into_owned();
        let Some(equals) = equals.filter(|_| allowed.contains(&key.as_str())) else {
            return Err(format!("{key:?} has no meaning here, want {}=", allowed.join("=, ")));
        };
        if options.iter().any(|(known, _)| *known == key) {
            return Err(format!("{key}= is there twice, want it once"));
        }
        options.push((key, Word { bytes: word.bytes[equals + 1..].to_vec(), quoted: false }));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).unwrap().iter().map(|word| word.text().unwrap()).collect()
    }

    #[test]
    fn blanks_separate_quotes_keep_together_and_a_comment_ends_the_line() {
        assert_eq!(words("  a\tb  # c"), ["a", "b"]);
        assert_eq!(
            words(r##"dns x "v=STSv1; id=1;" mx="a b"c d#e "#" #f"##),
            ["dns", "x", "v=STSv1; id=1;", "mx=a bc", "d#e", "#"]
        );
        assert_eq!(words(r#""" "\r\n\t\\\"\x41" a\b"#), ["", "\r\n\t\\\"A", "a\\b"]);
        assert_eq!(split(br#""\xff""#).unwrap()[0].bytes, [255]);
        assert!(words("# nothing").is_empty());
    }

    #[test]
    fn an_open_quote_and_an_unknown_escape_are_errors() {
        for line in [r#""a"#, r#""a\"#, r#""\q""#, r#""\x4""#, r#""\x4g""#] {
            assert!(split(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn options_are_known_and_there_once() {
        let parse = |line: &str| options(&split(line.as_bytes()).unwrap(), &["id", "mx"]);
        assert_eq!(parse("mx=a=b id=").unwrap().len(), 2);
        assert_eq!(parse("max=1").unwrap_err(), r#""max" has no meaning here, want id=, mx="#);
        assert_eq!(parse("id=1 id=2").unwrap_err(), "id= is there twice, want it once");
        assert!(parse("id").is_err());
    }
}
