/// Where bytes are cut on their way: the first byte of the data decides.
pub(crate) struct Cuts(u64);

impl Cuts {
    /// The cuts, and the bytes that are to be cut.
    pub(crate) fn of(data: &[u8]) -> (Cuts, &[u8]) {
        let (first, rest) = data.split_first().unwrap_or((&0, &[]));
        (Cuts(u64::from(*first)), rest)
    }

    /// How many bytes come next, of so many: one by one for an even first byte, otherwise any number.
    pub(crate) fn next(&mut self, left: usize) -> usize {
        if self.0 & 1 == 0 {
            return left.min(1);
        }
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 |= 1;
        1 + (self.0 >> 33) as usize % left.max(1)
    }
}
