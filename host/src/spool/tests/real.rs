//! The spool as others use it, on a real disk and on its own thread.

use super::disk::Disk;
use super::*;

async fn read_all(place: &Place) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    let mut appended = place.appended();
    loop {
        let after = all.last().map_or(place.acked(), |stored| stored.seq);
        if after == place.last() {
            return all;
        }
        let messages = place.read(after, 10).await;
        if messages.is_empty() {
            // The machine is busy.
            appended.changed().await.unwrap();
        }
        all.extend(messages);
    }
}

#[tokio::test]
async fn what_is_not_delivered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let spool = Spool::open(SpoolSettings::default(), Some(&path), &["hub", "page"]).await;
    let stream = spool.stream();
    assert_eq!(spool.place("other").map(|place| place.last()), None);
    let [hub, page] = ["hub", "page"].map(|name| spool.place(name).unwrap());
    let mut appended = hub.appended();
    for count in 0..50 {
        assert_eq!(spool.append(vec![reading(1, count)]), []);
    }
    appended.changed().await.unwrap();
    assert_eq!(read_all(&page).await.len(), 50);
    page.ack(50);
    hub.ack(7);
    assert_eq!(hub.state(), PlaceState { acked: 7, last: 50, queued: 43 });
    spool.close().await.unwrap();
    // Again, after the writer has ended.
    spool.close().await.unwrap();
    drop((spool, hub, page));

    let spool = Spool::open(SpoolSettings::default(), Some(&path), &["hub", "page", "new"]).await;
    assert_eq!((spool.stream(), spool.last(), spool.state().unclean_starts), (stream, 50, 0));
    let [hub, page, new] = ["hub", "page", "new"].map(|name| spool.place(name).unwrap());
    assert_eq!([hub.acked(), page.acked(), new.acked()], [7, 50, 50]);
    let waiting = read_all(&hub).await;
    assert_eq!(
        waiting.iter().map(|stored| stored.seq).collect::<Vec<_>>(),
        (8..=50).collect::<Vec<_>>()
    );
    assert_eq!(spool.append(vec![reading(1, 51)]), []);
    assert_eq!(
        (read_all(&page).await.len(), read_all(&new).await.len(), hub.state().queued),
        (1, 1, 44)
    );
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("spool.redb"))), (0o700, 0o600));
}

#[tokio::test]
async fn an_alarm_is_on_the_disk_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolSettings::default(), Some(folder.path()), &["hub"]).await;
    spool.append(vec![reading(1, 1)]);
    assert_eq!(spool.state().bytes_on_disk, 0);
    let place = spool.place("hub").unwrap();
    let mut appended = place.appended();
    spool.append(vec![alarm()]);
    tokio::time::timeout(Duration::from_secs(20), async {
        while spool.state().bytes_on_disk == 0 {
            appended.changed().await.unwrap();
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_no_reason_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let spool = Spool::open(SpoolSettings::default(), Some(&file.join("spool")), &["hub"]).await;
    spool.append(vec![reading(1, 1)]);
    let state = spool.state();
    assert!(state.memory_only.is_some());
    assert_eq!((state.last, state.queued), (1, 1));
}

#[tokio::test]
async fn few_damaged_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut streams = BTreeSet::new();
    for _ in 0..5 {
        std::fs::write(folder.path().join("spool.redb"), "no spool").unwrap();
        let spool = Spool::open(SpoolSettings::default(), Some(folder.path()), &["hub"]).await;
        assert_eq!((spool.state().set_aside, spool.state().memory_only), (1, None));
        streams.insert(spool.stream());
        spool.close().await.unwrap();
    }
    assert_eq!(streams.len(), 5);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        4,
        "the spool, its journal, two damaged ones"
    );
}

/// A disk that never answers.
struct Hanging(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Folder for Hanging {
    fn open(&self) -> std::io::Result<store::Files> {
        // Until the test is over.
        let _over = self.0.lock().unwrap().recv();
        Err(std::io::ErrorKind::NotConnected.into())
    }

    fn open_to_read(&self) -> std::io::Result<store::Files> {
        self.open()
    }

    fn set_aside(&self) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotConnected.into())
    }

    fn room(&self) -> std::io::Result<store::Room> {
        Ok(store::Room { free: 0, file: 0 })
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_no_start() {
    let (_let_go, hangs) = std::sync::mpsc::channel();
    let folder = Box::new(Hanging(hangs.into()));
    let spool = Spool::open_folder(SpoolSettings::default(), folder, &["hub"]).await;
    spool.append(vec![reading(1, 1)]);
    let state = spool.state();
    assert!(state.memory_only.as_ref().is_some_and(|why| why.contains("30s")), "{state:?}");
    assert_eq!((state.last, state.queued), (1, 1));
    let place = spool.place("hub").unwrap();
    assert_eq!(read_all(&place).await.len(), 1);
    spool.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_stalls_holds_up_nothing_that_is_in_memory() {
    /// More than what redb keeps in memory.
    const READINGS: u64 = 30_000;
    let disk = Disk::new(1);
    let settings = SpoolSettings { memory_bytes: 8 << 20, ..SpoolSettings::default() };
    let open = || Spool::open_folder(settings.clone(), Box::new(disk.clone()), &["hub"]);
    let spool = open().await;
    spool.append((0..READINGS).map(|count| reading(1, count)).collect());
    spool.close().await.unwrap();
    drop(spool);
    let spool = open().await;
    assert_eq!(spool.state().bytes_in_memory, 0);
    let place = spool.place("hub").unwrap();
    let mut appended = place.appended();
    // The last that was read is what redb remembers.
    assert_eq!(read_all(&place).await.len() as u64, READINGS);
    let stall = disk.stall();
    // Nobody waits for it, also when he asks again.
    for _ in 0..2 {
        assert_eq!(place.read(0, 10).await, []);
    }
    spool.append(vec![reading(1, 0)]);
    assert_eq!(place.read(READINGS, 10).await.len(), 1);
    appended.mark_unchanged();
    drop(stall);
    // It is told when the disk answers.
    appended.changed().await.unwrap();
    assert_eq!(read_all(&place).await.len() as u64, READINGS + 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_at_the_start_is_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::write(&data, "").unwrap();
    let disk = Box::new(DiskFolder::new(&data.join("spool")));
    let keeper = Keeper::open(SpoolSettings::default(), Some(disk), &["hub"]);
    keeper.append(vec![reading(1, 1)], Duration::ZERO);
    assert!(keeper.queue().state().memory_only.is_some());
    std::fs::remove_file(&data).unwrap();
    keeper.step(Duration::from_secs(601));
    assert_eq!(keeper.queue().state().memory_only, None);
    // Nobody else may have it meanwhile.
    let other = DiskFolder::new(&data.join("spool")).open().unwrap_err();
    assert!(other.to_string().contains("another weir"), "{other}");
}
