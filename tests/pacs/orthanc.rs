//! A real Orthanc with its DICOMweb plugin on loopback, of a test's own: configured, started, and ended with it.
#![allow(dead_code)] // each test binary uses its own part

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common;

/// Not in the path of everyone.
const PROGRAM: &str = "/usr/sbin/Orthanc";
const PLUGIN: &str = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so";
/// "me:secret", which the server wants to see.
pub const BASIC: &str = "Basic bWU6c2VjcmV0";

pub struct Orthanc {
    process: Child,
    folder: TempDir,
    http: u16,
    pub dicom: u16,
}

/// A port of loopback that was free just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Orthanc {
    /// `None`, said aloud, where there is none.
    pub fn start(test: &str) -> Option<Self> {
        for part in [PROGRAM, PLUGIN] {
            if !Path::new(part).exists() {
                common::skipped(test, part);
                return None;
            }
        }
        let folder = TempDir::new().unwrap();
        let (http, dicom) = (free_port(), free_port());
        let config = json!({
            "Name": "test",
            "StorageDirectory": folder.path().join("store"),
            "IndexDirectory": folder.path().join("store"),
            "Plugins": [PLUGIN],
            "HttpPort": http,
            "RemoteAccessAllowed": false,
            "AuthenticationEnabled": true,
            "RegisteredUsers": { "me": "secret" },
            "DicomPort": dicom,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": true,
            "DicomAlwaysAllowGet": false,
            "DicomAlwaysAllowFind": false,
            "DicomModalities": { "us": { "AET": "TRANSUNET", "Host": "127.0.0.1", "Port": 1, "AllowStore": true } },
            "DicomWeb": { "Enable": true, "Root": "/dicom-web/" },
        });
        let path = folder.path().join("orthanc.json");
        fs::write(&path, config.to_string()).unwrap();
        let log = fs::File::create(folder.path().join("log.txt")).unwrap();
        // Ends with this test even if it is killed.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", PROGRAM])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut orthanc = Orthanc { process, folder, http, dicom };
        let start = Instant::now();
        while orthanc.agent().get(orthanc.place("/system")).header("Authorization", BASIC).call().is_err() {
            let ended = orthanc.process.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < Duration::from_secs(30), "{test}: {}", orthanc.log());
            sleep(Duration::from_millis(100));
        }
        Some(orthanc)
    }

    fn agent(&self) -> ureq::Agent {
        ureq::Agent::config_builder().proxy(None).build().new_agent()
    }

    fn place(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log.txt")).unwrap_or_default()
    }

    /// Address of its DICOMweb server.
    pub fn web(&self) -> String {
        self.place("/dicom-web")
    }

    /// Address of its DIMSE side.
    pub fn dimse(&self) -> String {
        format!("dimse://ORTHANC@127.0.0.1:{}", self.dicom)
    }

    /// Stores the DICOM files of a folder.
    pub fn load(&self, folder: &Path) {
        for entry in folder.read_dir().unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            let place = self.place("/instances");
            self.agent().post(place).header("Authorization", BASIC).send(&bytes[..]).unwrap();
        }
    }

    /// What is at `path` of its REST API.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let mut answer = self.agent().get(self.place(path)).header("Authorization", BASIC).call().unwrap();
        answer.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap()
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(path)).unwrap()
    }

    /// Its name for each instance of a modality.
    pub fn instances(&self, modality: &str) -> Vec<String> {
        let series = self.json("/series?expand");
        let of = series.as_array().unwrap().iter().filter(|series| series["MainDicomTags"]["Modality"] == modality);
        of.flat_map(|series| series["Instances"].as_array().unwrap().clone())
            .map(|instance| instance.as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
