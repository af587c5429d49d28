//! Volumes begin, are read, leave, and are found again, whatever happens between.

use super::*;
use crate::{
    feature::{TenantId, Timestamp},
    store::{
        StoreError,
        embedded::{
            log::{
                blob::Piece,
                files::{Directory, Memory},
            },
            power_loss::recorder::{Recorder, crashed, killed},
        },
        log::{NewRecord, Payload, Record, TenantRef},
    },
};
use std::{fs, path::Path};

const PARTITIONS: u32 = 2;
/// A volume has room for two of the blobs below, not for three.
const BYTES_MAX: u64 = 2_500;

fn open(files: impl VolumeFiles + 'static) -> Result<Volumes> {
    Volumes::open(Box::new(files), PARTITIONS, BYTES_MAX)
}

/// A blob of three records of about 300 bytes; its log time is ten times its first offset, and so are event timestamps.
fn blob(first: u64) -> Blob {
    let mut piece = Piece::with_capacity(1_000);
    for offset in first..first + 3 {
        piece.push_event(&NewRecord {
            tenant: TenantId::from_stored(1),
            key: "key".into(),
            event_timestamp: Timestamp::from_stored(10 * first as i64),
            payload: payload(offset),
        });
    }
    piece.into_blob(first, 10 * first as i64)
}

fn payload(offset: u64) -> Payload {
    Payload::Json(format!("{offset:0300}").into())
}

/// Adds a blob to a partition, where it ends.
fn append(volumes: &Volumes, partition: u32) -> Result<()> {
    volumes.append(&[(partition, blob(volumes.bounds(partition).end))])
}

fn names(volumes: &Volumes) -> Vec<String> {
    let mut names = volumes.files.names().unwrap();
    names.sort_unstable();
    names
}

/// Start and end of each partition.
type Span = [(u64, u64); PARTITIONS as usize];

fn span(volumes: &Volumes) -> Span {
    [0, 1].map(|partition| (volumes.bounds(partition).start, volumes.bounds(partition).end))
}

/// Everything from start to end is there, however it is asked for.
fn check(volumes: &Volumes) {
    for partition in 0..PARTITIONS {
        let Extent { start, end, log_time } = volumes.bounds(partition);
        let mut records: Vec<Record> = Vec::new();
        for blob in volumes.read(partition, 0, usize::MAX).unwrap() {
            blob.read(0, &mut usize::MAX.clone(), &mut records).unwrap();
        }
        let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (start..end).collect::<Vec<_>>());
        for record in &records {
            let body = crate::store::log::Body::Event {
                tenant: TenantRef::Id(TenantId::from_stored(1)),
                payload: payload(record.offset),
            };
            assert_eq!(record.body, body);
            assert_eq!(record.log_time.micros() as u64, record.offset / 3 * 30);
            let log_time = volumes.log_time_at(partition, record.offset).unwrap();
            assert_eq!(log_time, Some(record.log_time.micros()));
        }
        assert_eq!(log_time.map(Timestamp::micros), end.checked_sub(3).map(|last| 10 * last as i64));
        assert_eq!(volumes.log_time_at(partition, end).unwrap(), None);
        for from in start..end {
            let first = &volumes.read(partition, from, 1).unwrap()[0];
            assert_eq!(first.first, from / 3 * 3);
        }
        let mut query = FindRecords {
            partition,
            from: 0,
            event_from: Timestamp::from_stored(10 * start as i64 + 30),
            event_to: Timestamp::MAX,
            bytes_max: 700,
        };
        let mut found = Vec::new();
        loop {
            let answer = volumes.find(&query).unwrap();
            found.extend(answer.records.iter().map(|record| record.offset));
            match answer.next {
                Some(next) => query.from = next,
                None => break,
            }
        }
        assert_eq!(found, ((start + 3).min(end)..end).collect::<Vec<_>>());
    }
}

#[test]
fn a_volume_ends_when_it_is_full() {
    let volumes = open(Memory::default()).unwrap();
    check(&volumes);
    for step in 0..20 {
        append(&volumes, step % 3 % 2).unwrap();
        assert_eq!(names(&volumes).len(), step as usize / 2 + 1);
    }
    check(&volumes);
    assert_eq!(volumes.opened().len(), OPEN_VOLUMES_MAX);
    // Many at once are one transaction, however large it is.
    let end = volumes.bounds(0).end;
    let many: Vec<(u32, Blob)> = (0..20).map(|at| (0, blob(end + 3 * at))).collect();
    volumes.append(&many).unwrap();
    assert_eq!(names(&volumes).len(), 11);
    append(&volumes, 1).unwrap();
    assert_eq!(names(&volumes).len(), 12);
    check(&volumes);
}

#[test]
fn volumes_leave_whole_once_nobody_needs_them() {
    let directory = tempfile::tempdir().unwrap();
    let reopen = || open(Directory::open(directory.path()).unwrap()).unwrap();
    let volumes = reopen();
    // Partition 1 ends early, with two blobs in the second volume.
    for partition in [0, 0, 1, 1, 0, 0, 0, 0] {
        append(&volumes, partition).unwrap();
    }
    let left = |volumes: &Volumes, numbers: std::ops::RangeInclusive<u64>| {
        assert_eq!(names(volumes), numbers.map(volume_name).collect::<Vec<_>>());
        check(volumes);
    };
    left(&volumes, 1..=4);
    // Nothing is outdated; something is, but was not read; something was read, but is not outdated.
    for (before, keep_from) in [(0, [99, 99]), (99, [5, 99]), (30, [99, 99])] {
        assert_eq!(volumes.remove(before, &keep_from).unwrap(), [0, 0]);
    }
    assert_eq!(volumes.remove(99, &[6, 0]).unwrap(), [6, 0]);
    left(&volumes, 2..=4);
    // A slow reader of one partition keeps what follows of the other.
    assert_eq!(volumes.remove(i64::MAX, &[99, 5]).unwrap(), [6, 0]);
    assert_eq!(volumes.remove(i64::MAX, &[99, 6]).unwrap(), [12, 6]);
    left(&volumes, 4..=4);
    drop(volumes);
    let volumes = reopen();
    left(&volumes, 4..=4);
    // What is old but not full leaves as well, and offsets go on.
    volumes.begin_if_older(120).unwrap();
    left(&volumes, 4..=4);
    volumes.begin_if_older(121).unwrap();
    left(&volumes, 4..=5);
    assert_eq!(volumes.remove(i64::MAX, &[99, 99]).unwrap(), [18, 6]);
    left(&volumes, 5..=5);
    volumes.begin_if_older(i64::MAX).unwrap();
    drop(volumes);
    let volumes = reopen();
    left(&volumes, 5..=5);
    append(&volumes, 1).unwrap();
    assert_eq!(span(&volumes), [(18, 18), (6, 9)]);
    check(&volumes);
}

/// What stood when an operation was acknowledged.
struct Acknowledged {
    moment: usize,
    span: Span,
}

/// A run that begins volumes in several ways, and removes some.
fn recorded() -> (Recorder, Vec<Acknowledged>) {
    let files = Recorder::default();
    let mut acknowledged = vec![Acknowledged { moment: 0, span: [(0, 0); 2] }];
    let volumes = open(files.clone()).unwrap();
    let mut acknowledge =
        |volumes: &Volumes| acknowledged.push(Acknowledged { moment: files.position(), span: span(volumes) });
    acknowledge(&volumes);
    for step in 0..11u32 {
        append(&volumes, step / 3 % 2).unwrap();
        acknowledge(&volumes);
        if step == 8 || step == 10 {
            volumes.remove(i64::MAX, &[12, 6]).unwrap();
            acknowledge(&volumes);
        }
    }
    volumes.begin_if_older(i64::MAX).unwrap();
    acknowledge(&volumes);
    volumes.remove(i64::MAX, &[99, 99]).unwrap();
    acknowledge(&volumes);
    append(&volumes, 1).unwrap();
    acknowledge(&volumes);
    drop(volumes);
    (files, acknowledged)
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_costs_one_repair() {
    let (files, acknowledged) = recorded();
    let journal = files.journal();
    let mut random = fastrand::Rng::with_seed(7);
    for moment in 0..=journal.len() {
        let last = acknowledged.iter().rposition(|stand| stand.moment <= moment).unwrap();
        let possible = &acknowledged[last..(last + 2).min(acknowledged.len())];
        let mut images = vec![crashed(&journal[..moment], &mut random)];
        images.extend(moment.is_multiple_of(4).then(|| killed(&journal[..moment])));
        for image in images {
            let files = Recorder::of(image);
            let volumes = open(files.clone()).unwrap();
            // The newest, or the first where there was none.
            assert_eq!(files.opened().len(), 1, "at operation {moment}: {:?}", files.opened());
            let found = span(&volumes);
            assert!(possible.iter().any(|stand| stand.span == found), "at operation {moment}: {found:?}");
            check(&volumes);
            for partition in [0, 1, 0] {
                append(&volumes, partition).unwrap();
            }
            check(&volumes);
        }
    }
}

#[test]
fn a_step_that_fails_is_made_good_by_the_next_append() {
    // Create, rename, sync; remove, sync.
    for fails_after in 0..6 {
        for how in ["next", "remove"] {
            let files = Recorder::default();
            let volumes = open(files.clone()).unwrap();
            for partition in [0, 0, 1, 1] {
                append(&volumes, partition).unwrap();
            }
            let before = span(&volumes);
            files.fail_after(fails_after);
            match how {
                "next" => {
                    let failed = append(&volumes, 0).is_err();
                    assert_eq!(failed, fails_after < 3);
                    assert_eq!(volumes.bounds(0).end, if failed { before[0].1 } else { before[0].1 + 3 });
                }
                _ => drop(volumes.remove(i64::MAX, &[99, 99]).unwrap()),
            }
            check(&volumes);
            for partition in [0, 1, 0, 1, 0] {
                // One of them may meet the failure.
                let _ = append(&volumes, partition);
                check(&volumes);
                let journal = files.journal();
                for seed in 0..4 {
                    let files = Recorder::of(crashed(&journal, &mut fastrand::Rng::with_seed(seed)));
                    assert_eq!(span(&open(files).unwrap()), span(&volumes), "{how} {fails_after}");
                }
            }
            let before = span(&volumes);
            drop(volumes);
            let volumes = open(files).unwrap();
            assert_eq!(span(&volumes), before, "{how} {fails_after}");
            check(&volumes);
        }
    }
}

#[test]
fn an_append_that_failed_gives_its_offsets_to_no_other_if_it_is_there() {
    let (mut refused, mut went_on) = (0, 0);
    for syncs in 0..12 {
        let files = Recorder::default();
        let volumes = open(files.clone()).unwrap();
        append(&volumes, 0).unwrap();
        files.fail_sync_after(syncs);
        let mut failed = false;
        for partition in [0, 1, 1, 0] {
            failed |= append(&volumes, partition).is_err();
        }
        let _ = volumes.begin_if_older(i64::MAX);
        match append(&volumes, 1) {
            Ok(()) if failed => went_on += 1,
            Ok(()) => {}
            Err(_) => refused += 1,
        }
        let before = span(&volumes);
        drop(volumes);
        let volumes = open(files).unwrap();
        check(&volumes);
        let after = span(&volumes);
        assert!(before.iter().zip(after).all(|(before, after)| before.1 <= after.1), "{before:?} {after:?}");
    }
    assert!(refused > 0 && went_on > 0, "{refused} {went_on}");
}

#[test]
fn a_directory_that_is_not_as_it_was_left_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let fill = |path: &Path| {
        let volumes = open(Directory::open(path).unwrap()).unwrap();
        [0, 0, 1, 1, 0, 0].into_iter().for_each(|partition| append(&volumes, partition).unwrap());
        volumes
    };
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let path = |number: u64| ours.join(volume_name(number));
    fill(&theirs);
    let volumes = fill(&ours);
    let open = || open(Directory::open(&ours).unwrap());
    let refused = |parts: &[&str]| {
        let error = open().unwrap_err();
        assert!(matches!(error, StoreError::Unusable(_)), "{error}");
        parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error}"));
    };
    refused(&["in use by another process"]);
    drop(volumes);
    // More than there should be.
    fs::write(ours.join("notes.txt"), "remember").unwrap();
    refused(&["notes.txt", "move it elsewhere"]);
    fs::remove_file(ours.join("notes.txt")).unwrap();
    // Less than there should be.
    for missing in 1..=2 {
        fs::rename(path(missing), directory.path().join("away")).unwrap();
        refused(&[&volume_name(missing), "put it back"]);
        fs::rename(directory.path().join("away"), path(missing)).unwrap();
    }
    // A volume under another's name.
    fs::rename(path(3), path(4)).unwrap();
    refused(&[&volume_name(4), "put back what belongs there"]);
    fs::rename(path(4), path(3)).unwrap();
    // Another log's volume: an old one is looked at when somebody reads it.
    fs::copy(theirs.join(volume_name(1)), path(1)).unwrap();
    let volumes = open().unwrap();
    let error = volumes.read(0, 0, 1).unwrap_err();
    assert!(error.to_string().contains(&volume_name(1)), "{error}");
    assert_eq!(volumes.read(0, 6, 1).unwrap()[0].first, 6);
    drop(volumes);
    // Another number of partitions, and a volume that was never finished.
    let error = Volumes::open(Box::new(Directory::open(&theirs).unwrap()), 3, BYTES_MAX).unwrap_err();
    assert!(error.to_string().contains("has 2 partitions and 3 are set"), "{error}");
    fs::write(theirs.join("000000000004.new"), "half").unwrap();
    check(&super::tests::open(Directory::open(&theirs).unwrap()).unwrap());
    assert!(!theirs.join("000000000004.new").exists());
}

#[test]
fn an_older_volume_that_was_not_closed_is_repaired_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let volumes = open(Directory::open(&path).unwrap()).unwrap();
    append(&volumes, 0).unwrap();
    append(&volumes, 1).unwrap();
    let (first, copy) = (path.join(volume_name(1)), directory.path().join("copied while it was written"));
    fs::copy(&first, &copy).unwrap();
    append(&volumes, 0).unwrap();
    drop(volumes);
    fs::rename(copy, first).unwrap();
    let volumes = open(Directory::open(&path).unwrap()).unwrap();
    check(&volumes);
    append(&volumes, 0).unwrap();
    check(&volumes);
}
