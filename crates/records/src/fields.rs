use millrace_message::Fields;

/// Writes each field on a line of its own, its name in lower case; values have no line ends. A line
/// end goes before the first field and behind the last, so that `\nname:` finds every field.
pub fn write_fields(text: &mut Vec<u8>, fields: &Fields) {
    for (name, value) in fields.iter() {
        text.push(b'\n');
        let start = text.len();
        text.extend_from_slice(name);
        text[start..].make_ascii_lowercase();
        text.push(b':');
        text.extend_from_slice(value);
    }
    text.push(b'\n');
}
