//! The one place that makes random numbers that must not repeat or be guessed.

/// Bytes from the operating system.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A number of 63 bits that is not 0: an id. Whoever stores it makes sure that it is not taken.
pub fn id() -> u64 {
    loop {
        let id = u64::from_le_bytes(bytes()) >> 1;
        if id != 0 {
            return id;
        }
    }
}
