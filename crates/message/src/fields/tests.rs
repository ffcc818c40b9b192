use super::*;

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in pairs {
        fields.append(name, value.as_bytes()).unwrap();
    }
    fields
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn assert_pairs(fields: &Fields, expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!(pairs(fields), expected);
    let bytes: usize = expected.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert_eq!(fields.text_len(), bytes);
}

#[test]
fn a_position_is_sixteen_bytes() {
    assert_eq!(size_of::<Span>(), 16);
}

#[test]
fn case_and_order_are_kept_and_names_match_without_case() {
    let fields = fields(&[("Host", "a"), ("X-Two", "1"), ("x-two", "2"), ("Empty", "")]);
    assert_pairs(&fields, &[("Host", "a"), ("X-Two", "1"), ("x-two", "2"), ("Empty", "")]);
    assert_eq!(fields.get("HOST"), Some(&b"a"[..]));
    assert_eq!(fields.get("X-TWO"), Some(&b"1"[..]));
    assert_eq!(fields.get_all("x-Two").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(fields.get("empty"), Some(&b""[..]));
    assert!(fields.get("hos").is_none() && !fields.contains("x-three"));
}

#[test]
fn set_keeps_the_first_place() {
    let mut fields = fields(&[("a", "1"), ("B", "2"), ("c", "3"), ("b", "4")]);
    fields.set("b", b"new").unwrap();
    assert_pairs(&fields, &[("a", "1"), ("b", "new"), ("c", "3")]);
    fields.set("d", b"5").unwrap();
    fields.set_all("b", &[b"x", b"y"]).unwrap();
    assert_pairs(&fields, &[("a", "1"), ("b", "x"), ("b", "y"), ("c", "3"), ("d", "5")]);
    fields.set_all("b", &[]).unwrap();
    assert_pairs(&fields, &[("a", "1"), ("c", "3"), ("d", "5")]);
}

#[test]
fn remove_retain_and_clear() {
    let mut fields = fields(&[("a", "1"), ("b", "2"), ("A", "3")]);
    assert!(fields.remove("a") && !fields.remove("a"));
    assert_pairs(&fields, &[("b", "2")]);
    fields.append("c", b"3").unwrap();
    fields.retain(|name, value| name == b"c" && value == b"3");
    assert_pairs(&fields, &[("c", "3")]);
    fields.clear();
    assert_pairs(&fields, &[]);
    fields.append("again", b"1").unwrap();
    assert_pairs(&fields, &[("again", "1")]);
}

#[test]
fn what_would_split_a_head_is_refused_and_changes_nothing() {
    let mut all = fields(&[("a", "1")]);
    for (name, value, error) in [
        ("", "v", InvalidField::Name),
        ("a b", "v", InvalidField::Name),
        ("a:", "v", InvalidField::Name),
        ("a\r\n", "v", InvalidField::Name),
        ("a", "v\r\nx: y", InvalidField::Value),
        ("a", "v\n", InvalidField::Value),
        ("a", "\0", InvalidField::Value),
        ("a", " v", InvalidField::Value),
    ] {
        assert_eq!(all.append(name, value.as_bytes()), Err(error));
        assert_eq!(all.set(name, value.as_bytes()), Err(error));
        assert_eq!(all.set_all(name, &[b"ok", value.as_bytes()]), Err(error));
    }
    assert_pairs(&all, &[("a", "1")]);
}

#[test]
fn a_field_set_over_and_over_does_not_grow_the_arena() {
    let mut fields = fields(&[("a", "1"), ("b", "2")]);
    for round in 0..10_000 {
        fields.set("a", format!("{round:0>40}").as_bytes()).unwrap();
    }
    assert!(fields.text.len() < 4096, "{}", fields.text.len());
    assert_eq!(fields.get("b"), Some(&b"2"[..]));
    assert!(fields.get("a").unwrap().ends_with(b"9999"));
}

#[test]
fn a_block_is_shared_by_its_fields() {
    let mut fields = Fields::with_block(b"Host: a\r\nb: c\r\n", 2);
    fields.push_span(0..4, 6..7);
    fields.push_span(9..10, 12..13);
    assert_pairs(&fields, &[("Host", "a"), ("b", "c")]);
    let copy = fields.clone();
    fields.set("host", b"other").unwrap();
    assert_pairs(&fields, &[("host", "other"), ("b", "c")]);
    assert_pairs(&copy, &[("Host", "a"), ("b", "c")]);
    assert!(copy != fields && copy == copy.clone());
}
