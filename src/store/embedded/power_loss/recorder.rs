//! Files that remember how they came to be, and what a crash leaves of them.

use redb::StorageBackend;
use std::{
    io,
    sync::{Arc, Mutex},
};

#[derive(Clone, Debug)]
pub enum Operation {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// A file in memory that remembers how it came to be, in a journal that files share: a crash hits them at one moment.
#[derive(Clone, Debug)]
pub struct Recorder {
    number: usize,
    file: Arc<Mutex<Vec<u8>>>,
    pub journal: Journal,
}

pub type Journal = Arc<Mutex<Vec<(usize, Operation)>>>;

impl Recorder {
    /// The store's file and the log's.
    pub fn files(images: [Vec<u8>; 2]) -> [Self; 2] {
        let journal = Journal::default();
        let mut number = 0;
        images.map(|image| {
            number += 1;
            Self { number: number - 1, file: Arc::new(Mutex::new(image)), journal: journal.clone() }
        })
    }

    pub fn position(&self) -> usize {
        self.journal.lock().unwrap().len()
    }

    fn note(&self, operation: Operation) {
        self.journal.lock().unwrap().push((self.number, operation));
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.file.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let file = self.file.lock().unwrap();
        let from = offset as usize;
        let bytes = file.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.lock().unwrap().resize(len as usize, 0);
        self.note(Operation::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.note(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut file = self.file.lock().unwrap();
        file[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        self.note(Operation::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// Both files after a crash when `journal` had been done.
pub fn crashed_files(journal: &[(usize, Operation)], random: &mut fastrand::Rng) -> [Vec<u8>; 2] {
    [0, 1].map(|file| {
        let of_file = journal.iter().filter(|(number, _)| *number == file);
        let log: Vec<&Operation> = of_file.map(|(_, operation)| operation).collect();
        crashed(&log, random)
    })
}

/// The file after a crash when `log` had been done: all up to the last sync, and of the rest some, one of them cut.
fn crashed(log: &[&Operation], random: &mut fastrand::Rng) -> Vec<u8> {
    let synced =
        log.iter().rposition(|operation| matches!(operation, Operation::Sync)).map_or(0, |at| at + 1);
    let mut file = Vec::new();
    for (at, operation) in log.iter().enumerate() {
        match operation {
            Operation::Length(len) => file.resize(*len as usize, 0),
            Operation::Write(offset, data) => {
                let len = match at >= synced {
                    false => data.len(),
                    true => [0, data.len(), random.usize(0..=data.len())][random.usize(0..3)],
                };
                file[*offset as usize..*offset as usize + len].copy_from_slice(&data[..len]);
            }
            Operation::Sync => {}
        }
    }
    file
}
