//! What a caller sent and nobody has read yet: some of it in memory, the rest in a file.
//!
//! A caller may send its whole spine before it reads an answer. If the server stopped reading then, both would wait for
//! ever; if it read on into memory, one caller could take all of it. So parts over a bound go to an unnamed temporary
//! file (in `TMPDIR`), up to a bound of its own. One side puts, one side takes, in order.

use crate::error::{Error, Kind, Result};
use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    fs::File,
    mem,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Bytes that are read from the file at once.
const READ_BYTES: usize = 1 << 20;

/// Something that can wait in a file.
pub trait Part: Send + Sized + 'static {
    /// About its size in memory, in bytes.
    fn bytes(&self) -> usize;
    /// Its content, which is also what the spine's hash runs over.
    fn encode(self) -> Bytes;
    fn decode(bytes: Bytes) -> Result<Self>;
}

/// The content of a body that is one stream of bytes.
impl Part for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn encode(self) -> Bytes {
        self
    }

    fn decode(bytes: Bytes) -> Result<Self> {
        Ok(bytes)
    }
}

/// Parts on their way from the caller to the reader of the spine.
pub(super) struct Spool<P> {
    state: Mutex<State<P>>,
    changed: Notify,
    memory_bytes_max: usize,
    file_bytes_max: u64,
}

struct State<P> {
    memory: VecDeque<P>,
    memory_bytes: usize,
    file: Option<Arc<File>>,
    /// What lies in the file and was not taken: records of a length (u32, little-endian) and as many bytes.
    unread: std::ops::Range<u64>,
    /// Counts parts, so that a waiting side sees that the other is alive.
    received: u64,
    hash: Sha256,
    end: Option<Result<()>>,
}

impl<P: Part> Spool<P> {
    pub fn new(memory_bytes_max: usize, file_bytes_max: u64) -> Self {
        let state = State {
            memory: VecDeque::new(),
            memory_bytes: 0,
            file: None,
            unread: 0..0,
            received: 0,
            hash: Sha256::new(),
            end: None,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), memory_bytes_max, file_bytes_max }
    }

    /// Puts a part behind all others.
    pub async fn put(&self, part: P, hashed: &Bytes) -> Result<()> {
        let spilled = {
            let mut state = self.lock();
            state.received += 1;
            state.hash.update(hashed);
            if state.unread.is_empty() && state.memory_bytes + part.bytes() <= self.memory_bytes_max {
                state.memory_bytes += part.bytes();
                state.memory.push_back(part);
                None
            } else {
                if state.unread.is_empty() {
                    state.unread = 0..0;
                }
                Some((part, state.unread.end, state.file.clone()))
            }
        };
        if let Some((part, at, file)) = spilled {
            self.spill(part.encode(), at, file).await?;
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing more comes, or nothing more can be read.
    pub fn end(&self, result: Result<()>) {
        self.lock().end = Some(result);
        self.changed.notify_one();
    }

    /// Takes some parts from the front, waiting for the first. `None` = there are no more.
    pub async fn take(&self) -> Result<Option<Vec<P>>> {
        loop {
            let stored = {
                let mut state = self.lock();
                if !state.memory.is_empty() {
                    state.memory_bytes = 0;
                    return Ok(Some(mem::take(&mut state.memory).into()));
                }
                match (&state.file, &state.end) {
                    (Some(file), _) if !state.unread.is_empty() => Some((file.clone(), state.unread.clone())),
                    (_, Some(end)) => return end.clone().map(|()| None),
                    _ => None,
                }
            };
            match stored {
                Some((file, unread)) => {
                    let (parts, read) = blocking(move || read_records(&file, unread)).await?;
                    self.lock().unread.start += read;
                    return parts.into_iter().map(P::decode).collect::<Result<_>>().map(Some);
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Waits until the caller has sent everything.
    pub async fn ended(&self) -> Result<()> {
        loop {
            if let Some(end) = &self.lock().end {
                return end.clone();
            }
            self.changed.notified().await;
        }
    }

    /// SHA-256 over all that was put so far, in hexadecimal.
    pub fn hash(&self) -> String {
        self.lock().hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many parts were put so far.
    pub fn received(&self) -> u64 {
        self.lock().received
    }

    async fn spill(&self, bytes: Bytes, at: u64, file: Option<Arc<File>>) -> Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| too_large(self.file_bytes_max))?;
        let end = at + 4 + u64::from(len);
        if end > self.file_bytes_max {
            return Err(too_large(self.file_bytes_max));
        }
        let file = blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile().map_err(failed)?),
            };
            file.write_all_at(&len.to_le_bytes(), at).map_err(failed)?;
            file.write_all_at(&bytes, at + 4).map_err(failed)?;
            Ok(file)
        })
        .await?;
        let mut state = self.lock();
        state.file = Some(file);
        state.unread.end = end;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole records from the front, and how many bytes of the file they take.
fn read_records(file: &File, unread: std::ops::Range<u64>) -> Result<(Vec<Bytes>, u64)> {
    let read = |at: u64, len: usize| -> Result<Bytes> {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, at).map_err(failed)?;
        Ok(bytes.into())
    };
    let available = (unread.end - unread.start) as usize;
    let mut block = read(unread.start, available.min(READ_BYTES))?;
    let (mut records, mut taken) = (Vec::new(), 0);
    while block.remaining() >= 4 {
        let len = u32::from_le_bytes(*block.first_chunk().expect("four bytes are there")) as usize;
        if block.len() < 4 + len {
            if records.is_empty() {
                records.push(read(unread.start + 4, len)?);
                taken = 4 + len as u64;
            }
            break;
        }
        block.advance(4);
        records.push(block.split_to(len));
        taken += 4 + len as u64;
    }
    Ok((records, taken))
}

/// Runs work that computes or waits for a disk, off the threads that serve connections.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            Err(Error::internal("a step of the training set failed unexpectedly"))
        }
        Err(_) => Err(Error::unavailable("the server is stopping")),
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::unavailable(format!("a spine could not be kept on disk: {error}; check TMPDIR and its free space"))
}

fn too_large(bytes_max: u64) -> Error {
    let message = format!(
        "more than {bytes_max} bytes of spine are waiting; read answers while sending, or ask in several calls"
    );
    Error::new(Kind::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drain(spool: &Spool<Bytes>) -> Vec<Bytes> {
        let mut all = Vec::new();
        while let Some(parts) = spool.take().await.unwrap() {
            all.extend(parts);
        }
        all
    }

    #[tokio::test]
    async fn parts_come_out_in_order_from_memory_and_file() {
        for memory in [0, 10, 1 << 20] {
            let spool = Spool::<Bytes>::new(memory, 1 << 30);
            let mut expected = Vec::new();
            let mut taken = Vec::new();
            for round in 0..300usize {
                let size = [0, 1, 7, 5_000][round % 4];
                let part = Bytes::from(vec![round as u8; size]);
                spool.put(part.clone(), &part).await.unwrap();
                expected.push(part);
                if round % 50 == 49 {
                    taken.extend(spool.take().await.unwrap().unwrap());
                }
            }
            spool.put(Bytes::from(vec![1; 3 * READ_BYTES]), &Bytes::new()).await.unwrap();
            expected.push(Bytes::from(vec![1; 3 * READ_BYTES]));
            spool.end(Ok(()));
            taken.extend(drain(&spool).await);
            assert!(taken == expected, "with {memory} bytes of memory");
        }
    }

    #[tokio::test]
    async fn the_file_is_bounded() {
        let spool = Spool::<Bytes>::new(0, 104);
        let part = Bytes::from_static(&[0; 100]);
        spool.put(part.clone(), &part).await.unwrap();
        assert_eq!(spool.put(part.clone(), &part).await.unwrap_err().kind, Kind::TooLarge);
        assert_eq!(spool.take().await.unwrap().unwrap().len(), 1);
        // What was read makes room again.
        spool.put(part.clone(), &part).await.unwrap();
    }

    #[tokio::test]
    async fn an_error_follows_what_came_before_it() {
        let spool = Spool::<Bytes>::new(100, 100);
        spool.put(Bytes::from_static(b"a"), &Bytes::new()).await.unwrap();
        spool.end(Err(Error::unavailable("broken off")));
        assert_eq!(spool.take().await.unwrap().unwrap().len(), 1);
        assert!(spool.take().await.is_err());
    }
}
