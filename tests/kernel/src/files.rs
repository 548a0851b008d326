//! The files that are there because somebody put them there.

use std::collections::BTreeMap;

use fuser::Errno;

use crate::options::KernelOptions;

/// What can be put into the tree.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A folder.
    Folder,
    /// A file with a content.
    File(Vec<u8>),
    /// A symbolic link to a target.
    Link(String),
    /// A file that can be opened and not be read.
    Unreadable(Errno),
}

impl From<&str> for Entry {
    fn from(text: &str) -> Self {
        Self::File(text.as_bytes().to_vec())
    }
}

impl From<String> for Entry {
    fn from(text: String) -> Self {
        Self::File(text.into_bytes())
    }
}

impl From<Vec<u8>> for Entry {
    fn from(bytes: Vec<u8>) -> Self {
        Self::File(bytes)
    }
}

/// Entries by their path from the mount point, without a slash at its beginning.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<String, Entry>);

impl Files {
    /// What is there on a Raspberry Pi.
    pub fn of_a_pi(options: &KernelOptions) -> Self {
        let mut files = Self::default();
        for folder in
            ["sys/bus/w1/devices", "sys/devices", "sys/module/w1_gpio", "sys/module/w1_therm"]
        {
            files.put(folder, Entry::Folder);
        }
        if options.hwmon {
            files.put("sys/class/hwmon", Entry::Folder);
        }
        files.put("boot/firmware/config.txt", options.config_txt.clone().into());
        // Strings of the device tree end with a NUL.
        files.put("proc/device-tree/model", format!("{}\0", options.model).into());
        files
    }

    /// Puts an entry, and the folders on the way to it.
    pub fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            if let Some(folder) = path.get(..at) {
                self.0.entry(folder.to_owned()).or_insert(Entry::Folder);
            }
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// Removes an entry and all that is in it.
    pub fn remove(&mut self, path: &str) {
        let path = path.trim_matches('/');
        self.0.retain(|other, _| other != path && !is_inside(other, path));
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    pub fn get_mut(&mut self, path: &str) -> Option<&mut Entry> {
        self.0.get_mut(path)
    }

    /// The names in a folder; the empty path is the mount point.
    pub fn names_in(&self, folder: &str) -> Vec<String> {
        let inside = |path: &String| match folder {
            "" => Some(path.clone()),
            _ => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
        };
        self.0.keys().filter_map(inside).filter(|rest| !rest.contains('/')).collect()
    }
}

fn is_inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_and_go_with_what_is_in_them() {
        let mut files = Files::default();
        files.put("/a/b/c", "text".into());
        files.put("a/bc", Entry::Folder);
        assert_eq!(files.names_in(""), ["a"]);
        assert_eq!(files.names_in("a"), ["b", "bc"]);
        files.remove("a/b");
        assert_eq!(files.names_in("a"), ["bc"]);
    }
}
