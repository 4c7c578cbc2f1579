//! Netstrings, the frames in which requests come and replies go: `12:postfix a.eu,`. Read strictly: what is no frame now
//! becomes none with the bytes that follow.

use std::io::Write;

/// The longest request that is taken: many times the longest domain.
pub const MAX_REQUEST_BYTES: usize = 4096;
/// Room for the longest frame: its length in digits, a colon, the request and a comma.
pub const MAX_FRAME_BYTES: usize = 4 + 1 + MAX_REQUEST_BYTES + 1;

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'b> {
    /// A request, and the number of bytes that its frame takes.
    Whole(&'b [u8], usize),
    /// The beginning of a frame.
    Begun,
    /// No frame, for this reason.
    Malformed(&'static str),
}

/// Reads the frame at the beginning of some bytes.
pub fn read(bytes: &[u8]) -> Frame<'_> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (length, behind) = bytes.split_at(digits);
    let length = match length {
        [] if behind.is_empty() => return Frame::Begun,
        [] => return Frame::Malformed("a request does not begin with its length"),
        [b'0', _, ..] => return Frame::Malformed("the length of a request begins with 0"),
        // No overflow: what is longer than four digits is refused before the fifth counts.
        digits => digits.iter().take(5).fold(0, |length, digit| length * 10 + usize::from(digit - b'0')),
    };
    if length > MAX_REQUEST_BYTES {
        return Frame::Malformed("a request is too long");
    }
    match behind {
        [] => Frame::Begun,
        [b':', payload @ ..] => match (payload.get(..length), payload.get(length)) {
            (Some(request), Some(b',')) => Frame::Whole(request, digits + 1 + length + 1),
            (_, None) => Frame::Begun,
            _ => Frame::Malformed("a request does not end with a comma"),
        },
        _ => Frame::Malformed("the length of a request does not end with a colon"),
    }
}

/// Puts a reply into its frame, in place of what was there.
pub fn write(reply: &str, frame: &mut Vec<u8>) {
    frame.clear();
    // Writing to a vector cannot fail.
    let _ = write!(frame, "{}:{reply},", reply.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_read_and_what_follows_is_left() {
        assert_eq!(read(b"5:sts a,"), Frame::Whole(b"sts a", 8));
        assert_eq!(read(b"0:,"), Frame::Whole(b"", 3));
        assert_eq!(read(b"1:,,7:"), Frame::Whole(b",", 4));
        let longest = [b"4096:", &[b'x'; MAX_REQUEST_BYTES][..], b","].concat();
        assert_eq!(longest.len(), MAX_FRAME_BYTES);
        assert_eq!(read(&longest), Frame::Whole(&[b'x'; MAX_REQUEST_BYTES], MAX_FRAME_BYTES));
    }

    #[test]
    fn each_beginning_of_a_frame_is_one() {
        let frame = b"12:postfix a.eu,";
        for end in 0..frame.len() {
            assert_eq!(read(&frame[..end]), Frame::Begun, "{end} bytes");
        }
        assert_eq!(read(frame), Frame::Whole(b"postfix a.eu", frame.len()));
    }

    #[test]
    fn what_is_no_frame_is_refused_at_the_first_byte_that_shows_it() {
        let bad: [&[u8]; 14] = [
            b"x",
            b":",
            b",",
            b" 5:sts a,",
            b"-1:",
            b"+5:sts a,",
            b"00",
            b"05:sts a,",
            b"5 ",
            b"5:sts ab",
            b"4097",
            b"99999",
            b"99999999999999999999999999",
            b"GET / HTTP/1.1\r\n",
        ];
        for bytes in bad {
            let found = read(bytes);
            assert!(matches!(found, Frame::Malformed(_)), "{}: {found:?}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        let mut frame = b"something".to_vec();
        write("NOTFOUND ", &mut frame);
        assert_eq!(frame, b"9:NOTFOUND ,");
    }
}
