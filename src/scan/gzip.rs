//! Files that gzip compressed: members one after another, and zeros behind them, as tapes and some archives pad files.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// What all members hold, one after another.
pub struct Members<R> {
    /// None once it is at its end, or broken.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    /// `from` begins with a member.
    pub fn new(from: R) -> Self {
        Self { member: Some(GzDecoder::new(from)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(buffer)? {
                0 if !buffer.is_empty() => {}
                read => return Ok(read),
            }
            let mut rest = self.member.take().map(GzDecoder::into_inner);
            if let Some(from) = &mut rest
                && !skip_zeros(from)?
            {
                rest = None;
            }
            self.member = rest.map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// Whether something comes after zeros.
fn skip_zeros(from: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let there = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            there => there?,
        };
        if there.is_empty() {
            return Ok(false);
        }
        let zeros = there.iter().take_while(|byte| **byte == 0).count();
        let is_over = zeros < there.len();
        from.consume(zeros);
        if is_over {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::{BufReader, Write};

    fn member(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // Pieces smaller than what is padded.
        Members::new(BufReader::with_capacity(16, file)).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn members_follow_each_other_and_zeros_may_follow_them() {
        let (one, two, zeros) = (member(b"one"), member(b"two"), vec![0; 100]);
        assert_eq!(read(&one).unwrap(), b"one");
        assert_eq!(read(&[&one[..], &two].concat()).unwrap(), b"onetwo");
        assert_eq!(read(&[&one[..], &zeros].concat()).unwrap(), b"one");
        assert_eq!(read(&[&one[..], &zeros, &two, &zeros[..1]].concat()).unwrap(), b"onetwo");
        assert_eq!(read(&[member(b""), two].concat()).unwrap(), b"two");
    }

    #[test]
    fn what_is_damaged_or_something_else_is_an_error() {
        let one = member(b"one");
        for cut in 1..one.len() {
            assert!(read(&one[..cut]).is_err(), "{cut}");
        }
        assert!(read(&[&one[..], b"other"].concat()).is_err());
        assert!(read(&[&one[..], &[0, 0], b"other"].concat()).is_err());
        let mut damaged = one;
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        assert!(read(&damaged).is_err());
    }
}
