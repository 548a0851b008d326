//! Keys of encrypted connections: of an uplink, and of the hub inside this process.

use std::path::PathBuf;

use super::Checker;
use crate::hub::is_private;
use crate::pipeline::Dashboard;
use crate::pipeline::keys::Keys;
use crate::uplink::TlsSettings;
use crate::uplink::certificate::CertificateFiles;

impl<'a> Checker<'_, 'a, '_> {
    /// What an uplink trusts and shows: `ca_file`, `certificate_file`, `key_file`.
    pub(super) fn tls(&mut self, keys: &mut Keys<'_, 'a>) -> Option<TlsSettings> {
        let ca_file = self.path(keys, "ca_file");
        let certificate = self.certificate(keys);
        Some(TlsSettings { ca_file: ca_file?, certificate: certificate? })
    }

    /// `[dashboard]`. What others can reach is encrypted, or the file says that it need not be.
    pub(super) fn dashboard(&mut self, mut keys: Keys<'_, 'a>) -> Option<Dashboard> {
        let listen = keys.address(self.source, "listen");
        let certificate = self.certificate(&mut keys);
        let insecure = keys.boolean(self.source, "insecure", false);
        if let (Some(address), Some(None)) = (listen, &certificate)
            && !insecure
            && !is_private(address)
            && let Some(written) = keys.get("listen")
        {
            let text = format!(
                "{}: `listen` is \"{address}\", which other machines can reach: add `certificate_file` and `key_file`, \
                 or `insecure = true` in a network that you trust",
                keys.place
            );
            self.source.problem(&written.span(), text);
        }
        keys.finish(self.source);
        Some(Dashboard { listen: listen?, certificate: certificate? })
    }

    /// `certificate_file` and `key_file`: both or neither.
    fn certificate(&mut self, keys: &mut Keys<'_, 'a>) -> Option<Option<CertificateFiles>> {
        let certificate_file = self.path(keys, "certificate_file")?;
        let key_file = self.path(keys, "key_file")?;
        match (certificate_file, key_file) {
            (Some(certificate_file), Some(key_file)) => {
                Some(Some(CertificateFiles { certificate_file, key_file }))
            }
            (None, None) => Some(None),
            (Some(_), None) => {
                keys.missing(self.source, "key_file", "the path of the certificate's private key");
                None
            }
            (None, Some(_)) => {
                keys.missing(self.source, "certificate_file", "the path of the key's certificate");
                None
            }
        }
    }

    /// A path, from the folder of the pipeline file. `None` when what is written there is none.
    fn path(&mut self, keys: &mut Keys<'_, 'a>, key: &'static str) -> Option<Option<PathBuf>> {
        if keys.get(key).is_none() {
            return Some(None);
        }
        let folder = self.folder;
        let path = keys.parsed(self.source, key, "the path of a file", |text| {
            (!text.is_empty()).then(|| folder.join(text))
        });
        path.map(|at| Some(at.value))
    }
}
