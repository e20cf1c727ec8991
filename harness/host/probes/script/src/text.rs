//! Bytes as scripts and log lines have them.

/// The bytes of a word of a script.
pub fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < word.len() {
        let hex = word.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| word[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(word[at]);
                at += 1;
            }
        }
    }
    out
}

/// Bytes as one word.
pub fn escape(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b' '..=b'~' if *byte != b'%' => char::from(*byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}
