use super::{Block, Blocks, Step};

fn read(blocks: &mut Blocks, hex: &str, step: usize) -> (usize, u64, String) {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    blocks.begin();
    bytes.chunks(step).for_each(|piece| blocks.read(piece));
    assert!(blocks.step == Step::Start);
    let Block { fields, bytes, method, path, authority, .. } = &blocks.block;
    let text = [&method[..], path, authority].map(String::from_utf8_lossy).join(" ");
    (*fields, *bytes, text)
}

/// RFC 7541, Appendix C.3 and C.4: three requests each, which share a table.
#[test]
fn the_requests_of_the_rfc() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for requests in [plain, huffman] {
        for step in 1..30 {
            let mut blocks = Blocks::new();
            let found = requests.map(|hex| read(&mut blocks, hex, step));
            let first = 10 + 11 + 6 + 25 + 4 * 4;
            let expected = [
                (4, first, "GET / www.example.com".to_owned()),
                (5, first + 13 + 8 + 4, "GET / www.example.com".to_owned()),
                (5, 10 + 12 + 16 + 25 + 22 + 5 * 4, "GET /index.html www.example.com".to_owned()),
            ];
            assert_eq!(found, expected);
            assert_eq!(blocks.table.size(), 164);
        }
    }
}

/// Appendix C.5: responses, in a table of 256 bytes that drops what is old.
#[test]
fn what_the_table_has_no_room_for_is_dropped() {
    let mut blocks = Blocks::new();
    blocks.read(&[0x3f, 0xe1, 0x01]);
    let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 \
                 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 \
                 7861 6d70 6c65 2e63 6f6d";
    assert_eq!(read(&mut blocks, first, 7).0, 4);
    assert_eq!(blocks.table.size(), 222);
    read(&mut blocks, "4803 3330 37c1 c0bf", 7);
    assert_eq!(blocks.table.size(), 222);
    let third = "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 \
                 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 \
                 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 \
                 6572 7369 6f6e 3d31";
    assert_eq!(read(&mut blocks, third, 7).0, 6);
    assert_eq!(blocks.table.size(), 215);
}

#[test]
fn a_fragment_is_found_in_any_form_and_only_in_a_path() {
    let mut blocks = Blocks::new();
    let mut has_fragment = |hex| {
        read(&mut blocks, hex, 1);
        blocks.block.has_fragment
    };
    // A literal that is kept, and its index; one that is not kept; one in Huffman's code.
    assert!(has_fragment("44 03 2f2361"));
    assert!(has_fragment("be"));
    assert!(has_fragment("04 03 2f2361"));
    assert!(has_fragment("00 05 3a70617468 02 2f23"));
    assert!(has_fragment("04 83 63febf"));
    assert!(!has_fragment("04 02 2f61"));
    assert!(!has_fragment("00 01 78 02 2f23"));
}

#[test]
fn what_is_no_block_is_left_alone() {
    for bytes in [&[0xff; 8][..], &[0x80], &[0xfe], &[0, 0], &[0x7f, 0xff, 0xff, 0xff, 0xff]] {
        let mut blocks = Blocks::new();
        blocks.read(bytes);
        blocks.read(&[0x82; 10]);
        assert_eq!(blocks.block.fields, 0);
    }
}
