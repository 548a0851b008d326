//! The tree as FUSE asks for it. Whatever may block runs in a thread of its own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::files::Entry;
use crate::pace::{answer_to, lock};
use crate::tree::Node;
use crate::world::World;

/// The kernel above asks anew each time: what is there changes without its knowledge.
const NO_CACHE: Duration = Duration::ZERO;

/// An open file. What an attribute said at its beginning stays for the reads further on.
struct Open {
    path: String,
    node: Node,
    content: Mutex<Vec<u8>>,
}

/// Numbers for paths. A path that becomes something of another type gets another number, since a number's type must
/// not change.
struct Inodes {
    by_path: HashMap<(String, FileType), u64>,
    paths: Vec<String>,
}

impl Inodes {
    fn number(&mut self, path: &str, kind: FileType) -> INodeNo {
        if path.is_empty() {
            return INodeNo::ROOT;
        }
        let next = self.paths.len() as u64 + INodeNo::ROOT.0;
        let number = *self.by_path.entry((path.to_owned(), kind)).or_insert(next);
        if number == next {
            self.paths.push(path.to_owned());
        }
        INodeNo(number)
    }

    fn path(&self, ino: INodeNo) -> Option<String> {
        self.paths.get(usize::try_from(ino.0 - INodeNo::ROOT.0).ok()?).cloned()
    }
}

/// The file system of one emulated kernel.
pub(crate) struct Tree {
    world: Arc<World>,
    /// The user and the group that everything belongs to.
    owner: (u32, u32),
    inodes: Mutex<Inodes>,
    open: Mutex<(u64, HashMap<u64, Arc<Open>>)>,
}

impl Tree {
    pub fn new(world: Arc<World>, uid: u32, gid: u32) -> Self {
        let inodes = Inodes { by_path: HashMap::new(), paths: vec![String::new()] };
        Self { world, owner: (uid, gid), inodes: Mutex::new(inodes), open: Mutex::default() }
    }

    fn at(&self, ino: INodeNo) -> Result<(String, Node), Errno> {
        let path = lock(&self.inodes).path(ino).ok_or(Errno::ENOENT)?;
        let node = self.world.node(&path).ok_or(Errno::ENOENT)?;
        Ok((path, node))
    }

    fn attr(&self, path: &str, node: &Node) -> FileAttr {
        let refused = self.world.refusal(base_name(path)).is_some();
        let (kind, perm, size) = match node {
            Node::Folder => (FileType::Directory, 0o755, 0),
            Node::Link(target) => (FileType::Symlink, 0o777, target.len() as u64),
            Node::Attribute(attribute) => {
                (FileType::RegularFile, self.world.mode(attribute), attribute.size())
            }
            Node::Put(size) => {
                (FileType::RegularFile, if refused { 0o444 } else { 0o644 }, *size as u64)
            }
        };
        let (uid, gid) = self.owner;
        FileAttr {
            ino: lock(&self.inodes).number(path, kind),
            size,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        }
    }

    /// Whether a file may be opened so. Root too is asked, as sysfs does.
    fn permit(&self, path: &str, node: &Node, flags: OpenFlags) -> Result<(), Errno> {
        let perm = self.attr(path, node).perm;
        let (reads, writes) = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => (true, false),
            OpenAccMode::O_WRONLY => (false, true),
            OpenAccMode::O_RDWR => (true, true),
        };
        if writes && perm & 0o222 == 0 {
            return Err(self.world.refusal(base_name(path)).unwrap_or(Errno::EACCES));
        }
        if reads && perm & 0o444 == 0 { Err(Errno::EACCES) } else { Ok(()) }
    }

    fn opened(&self, fh: FileHandle) -> Result<Arc<Open>, Errno> {
        lock(&self.open).1.get(&fh.0).cloned().ok_or(Errno::EBADF)
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The part of a content that a read asks for.
fn part(content: &[u8], offset: u64, size: u32) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    let end = start.saturating_add(size as usize).min(content.len());
    content.get(start..end).unwrap_or_default()
}

/// What a read gives, however long it takes.
fn read(world: &World, open: &Open, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
    match &open.node {
        Node::Attribute(attribute) => {
            if offset == 0 {
                let content = world.show(attribute)?;
                *lock(&open.content) = content;
            }
            Ok(part(&lock(&open.content), offset, size).to_vec())
        }
        Node::Put(_) => match lock(&world.files).get(&open.path) {
            Some(Entry::File(content)) => Ok(part(content, offset, size).to_vec()),
            Some(Entry::Unreadable(errno)) => Err(*errno),
            _ => Err(Errno::ENODEV),
        },
        Node::Folder | Node::Link(_) => Err(Errno::EISDIR),
    }
}

/// Writes, however long it takes.
fn write(world: &World, open: &Open, offset: u64, data: &[u8]) -> Result<(), Errno> {
    match &open.node {
        Node::Attribute(attribute) => world.store(attribute, data),
        Node::Put(_) => match lock(&world.files).get_mut(&open.path) {
            Some(Entry::File(content)) => {
                content.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
                content.extend_from_slice(data);
                Ok(())
            }
            _ => Err(Errno::EACCES),
        },
        Node::Folder | Node::Link(_) => Err(Errno::EISDIR),
    }
}

impl Filesystem for Tree {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = lock(&self.inodes).path(parent);
        let path = parent.zip(name.to_str()).map(|(parent, name)| join(&parent, name));
        match path.and_then(|path| self.world.node(&path).map(|node| (path, node))) {
            Some((path, node)) => reply.entry(&NO_CACHE, &self.attr(&path, &node), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.at(ino) {
            Ok((path, node)) => reply.attr(&NO_CACHE, &self.attr(&path, &node)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Only a truncation of a file that was put does anything; opening an attribute to write truncates nothing.
    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<fuser::TimeOrNow>,
        _mtime: Option<fuser::TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let (Ok((path, _)), Some(size)) = (self.at(ino), size)
            && let Some(Entry::File(content)) = lock(&self.world.files).get_mut(&path)
        {
            content.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        }
        match self.at(ino) {
            Ok((path, node)) => reply.attr(&NO_CACHE, &self.attr(&path, &node)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        match self.at(ino) {
            Ok((_, Node::Link(target))) => reply.data(target.as_bytes()),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let found = self.at(ino).and_then(|(path, node)| {
            self.permit(&path, &node, flags)?;
            Ok((path, node))
        });
        match found {
            Ok((path, node)) => {
                let mut open = lock(&self.open);
                open.0 += 1;
                let number = open.0;
                open.1.insert(number, Arc::new(Open { path, node, content: Mutex::default() }));
                // Every read comes here, and a blocked write holds no other one up.
                let flags = FopenFlags::FOPEN_DIRECT_IO
                    | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
                    | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(FileHandle(number), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let world = Arc::clone(&self.world);
        match self.opened(fh) {
            Ok(open) => {
                let requester = request.pid();
                thread::spawn(move || {
                    answer_to(requester);
                    match read(&world, &open, offset, size) {
                        Ok(data) => reply.data(&data),
                        Err(errno) => reply.error(errno),
                    }
                });
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let world = Arc::clone(&self.world);
        // An attribute takes a page at most.
        let data = data.get(..4_096).unwrap_or(data).to_vec();
        match self.opened(fh) {
            Ok(open) => {
                let requester = request.pid();
                thread::spawn(move || {
                    answer_to(requester);
                    match write(&world, &open, offset, &data) {
                        Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
                        Err(errno) => reply.error(errno),
                    }
                });
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.open).1.remove(&fh.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let folder = match self.at(ino) {
            Ok((path, Node::Folder)) => path,
            Ok(_) => return reply.error(Errno::ENOTDIR),
            Err(errno) => return reply.error(errno),
        };
        let dots = [".", ".."].map(|name| (ino, FileType::Directory, name.to_owned()));
        let names = self.world.names(&folder).into_iter().filter_map(|name| {
            let path = join(&folder, &name);
            let attr = self.attr(&path, &self.world.node(&path)?);
            Some((attr.ino, attr.kind, name))
        });
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (ino, kind, name)) in (1..).zip(dots.into_iter().chain(names)).skip(skipped) {
            if reply.add(ino, at, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
