//! Tar archives made byte by byte, so that they can be wrong.

/// One header block with a right checksum.
pub(crate) fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

/// Makes the checksum of a header block right.
pub(crate) fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header and its data, padded.
pub(crate) fn entry(kind: u8, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name.as_bytes(), link.as_bytes(), data.len() as u64);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn file(name: &str, data: &str) -> Vec<u8> {
    entry(b'0', name, "", data.as_bytes())
}

pub(crate) fn directory(name: &str) -> Vec<u8> {
    let mut bytes = entry(b'5', name, "", b"");
    bytes[100..107].copy_from_slice(b"0000755");
    seal(&mut bytes);
    bytes
}

pub(crate) fn symlink(name: &str, target: &str) -> Vec<u8> {
    entry(b'2', name, target, b"")
}

pub(crate) fn hardlink(name: &str, target: &str) -> Vec<u8> {
    entry(b'1', name, target, b"")
}

/// A PAX extended header with these records.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..).map(|digits| rest + digits).find(|n| n.to_string().len() + rest == *n);
        body.extend_from_slice(format!("{} {key}=", length.expect("some length fits")).as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    entry(b'x', "PaxHeaders.0/x", "", &body)
}

/// The parts and the end of the archive.
pub(crate) fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
