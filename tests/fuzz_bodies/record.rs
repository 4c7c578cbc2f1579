//! TXT records, one a line: the STS record is picked as the grammar says, and no other way.

use super::grammar::{self, Record};
use mtasts::syntax::{RecordChoice, select_record};

pub fn run(bytes: &[u8]) {
    let records: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    compare(&records);
}

/// Panics if the two differ; tells whether there is a record.
pub fn compare(records: &[&[u8]]) -> bool {
    let ours = match select_record(records.iter().copied()) {
        RecordChoice::Found(record) => Record::Found(record.id().to_owned()),
        RecordChoice::None => Record::None,
        RecordChoice::Invalid(_) => Record::Invalid,
    };
    let shown: Vec<String> = records.iter().map(|record| record.escape_ascii().to_string()).collect();
    assert_eq!(ours, grammar::record(records), "libmtasts (left) and the grammar (right) on {shown:?}");
    matches!(ours, Record::Found(_))
}
