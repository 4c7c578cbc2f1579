//! Buffers for one request and its answer: as large as these turn out to be.
//!
//! ureq's own are two times 128 KiB, filled with zeros for each connection; a policy has a few hundred bytes.

use ureq::unversioned::transport::Buffers;

/// The request has a few hundred bytes, of which a name of 253 comes once or twice.
const OUTPUT_BYTES: usize = 4 * 1024;
const FIRST_INPUT_BYTES: usize = 4 * 1024;
/// More than the largest head that is read.
const MOST_INPUT_BYTES: usize = 128 * 1024;

/// What goes out, and what has come in and is not used yet.
#[derive(Debug)]
pub struct GrowingBuffers {
    output: Vec<u8>,
    input: Vec<u8>,
    used: usize,
    filled: usize,
    has_progressed: bool,
}

impl GrowingBuffers {
    pub fn new() -> Self {
        let (output, input) = (vec![0; OUTPUT_BYTES], vec![0; FIRST_INPUT_BYTES]);
        Self { output, input, used: 0, filled: 0, has_progressed: false }
    }
}

impl Buffers for GrowingBuffers {
    fn output(&mut self) -> &mut [u8] {
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.used..self.filled).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.used > 0 {
            self.input.copy_within(self.used..self.filled, 0);
            self.filled = self.filled.saturating_sub(self.used);
            self.used = 0;
        }
        if self.filled == self.input.len() {
            let larger = self.input.len().saturating_mul(2).min(MOST_INPUT_BYTES);
            self.input.resize(larger, 0);
        }
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = self.filled.saturating_add(amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.has_progressed = amount > 0;
        self.used = self.used.saturating_add(amount).min(self.filled);
    }

    // Asked for when a request has a body, which ours have not.
    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        (self.input.get_mut(self.filled..).unwrap_or_default(), &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        !self.input().is_empty() && self.has_progressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(buffers: &mut GrowingBuffers, bytes: &[u8]) -> usize {
        let room = buffers.input_append_buf();
        let amount = room.len().min(bytes.len());
        room[..amount].copy_from_slice(&bytes[..amount]);
        buffers.input_appended(amount);
        amount
    }

    #[test]
    fn what_comes_in_is_given_back_in_order_however_it_is_cut() {
        let sent: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let (mut buffers, mut got, mut at, mut step) = (GrowingBuffers::new(), Vec::new(), 0, 1);
        while got.len() < sent.len() {
            at += append(&mut buffers, &sent[at..(at + 3 * step).min(sent.len())]);
            let used = buffers.input().len().min(step);
            got.extend_from_slice(&buffers.input()[..used]);
            buffers.input_consume(used);
            step = step * 3 % 5_003 + 1;
        }
        assert!(got == sent);
    }

    #[test]
    fn it_grows_as_far_as_it_may_and_then_has_no_room() {
        let mut buffers = GrowingBuffers::new();
        assert!(!buffers.can_use_input());
        while append(&mut buffers, &[7; 1000]) > 0 {}
        assert_eq!(buffers.input().len(), MOST_INPUT_BYTES);
        assert!(!buffers.can_use_input(), "nothing of it was any use so far");
        buffers.input_consume(10);
        assert!(buffers.can_use_input());
        assert_eq!(append(&mut buffers, &[7; 1000]), 10);
    }
}
