//! Where NVRTC and the CUDA headers are, which CubeCL asks for when it compiles kernels.
//!
//! CubeCL 0.10 loads NVRTC by its name and takes the headers from CUDA_PATH or a few folders of the system. What lies elsewhere
//! is handed to it: a library that is loaded already is found by its name, and CUDA_PATH is set where it helps.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::plugin;

/// Versions of CUDA whose NVRTC cudarc knows.
const MAJORS: [&str; 2] = ["13", "12"];
/// Of what kernels include, the headers that come in packages of their own.
const SIGNS: [&str; 2] = ["include/cuda_runtime.h", "include/crt/mma.h"];
/// Where a toolkit or PyPI's packages keep libraries, below their root.
const LIBRARIES: [&str; 6] =
    ["lib64", "lib", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"];
/// Folders below a root that may hold the headers: those of PyPI's packages for CUDA 12 lie in a folder for each, which
/// CubeCL cannot be told.
const HEADERS: [&str; 2] = ["", "nvidia/cu13"];

/// Value of an environment variable that is set.
type Variable = dyn Fn(&str) -> Option<OsString>;

/// The environment, as far as it tells where to look.
struct Surroundings {
    /// The folder of this library.
    home: Option<PathBuf>,
    variable: Box<Variable>,
    /// Root of the file system.
    system: PathBuf,
}

impl Surroundings {
    fn here() -> Self {
        Surroundings {
            home: plugin::home(),
            variable: Box::new(|name| std::env::var_os(name).filter(|value| !value.is_empty())),
            system: "/".into(),
        }
    }

    fn folder(&self, variable: &str) -> Option<PathBuf> {
        (self.variable)(variable).map(PathBuf::from)
    }

    /// Folders to look into first: `cuda` beside the library, CUDA_PATH, the system's toolkits.
    fn toolkits(&self) -> Vec<PathBuf> {
        let system = |path: &str| self.system.join(path);
        let mut roots: Vec<PathBuf> = self.home.iter().map(|home| home.join("cuda")).collect();
        roots.extend(self.folder("CUDA_PATH"));
        roots.extend(["usr/local/cuda", "opt/cuda", "usr"].map(system));
        if cfg!(windows) {
            // The installer sets CUDA_PATH; CubeCL looks here besides.
            roots.push("C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA".into());
        }
        roots
    }

    /// Folders to look into then: what pip has installed.
    fn packages(&self) -> Vec<PathBuf> {
        let system = |path: &str| self.system.join(path);
        let mut roots = Vec::new();
        let own = self.folder("HOME").map(|home| home.join(".local"));
        let trees = [self.folder("VIRTUAL_ENV"), self.folder("CONDA_PREFIX"), own, Some(system("usr/local"))];
        for tree in trees.into_iter().flatten() {
            let mut pythons: Vec<PathBuf> = entries(&tree.join("lib"))
                .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")))
                .collect();
            pythons.sort();
            let packages = |python: PathBuf| ["site-packages", "dist-packages"].map(|name| python.join(name));
            roots.extend(pythons.into_iter().rev().flat_map(packages));
        }
        roots.push(system("usr/lib/python3/dist-packages"));
        roots
    }

    fn toolkit(&self, loads: impl Fn() -> bool) -> Result<Toolkit, String> {
        let [toolkits, packages] = [self.toolkits(), self.packages()];
        let missing = |what: &str| Err(format!("{what}: {}", advice(self.home.as_deref())));
        let mut library = toolkits.iter().find_map(|root| nvrtc(root));
        if library.is_none() && !loads() {
            library = packages.iter().find_map(|root| nvrtc(root));
            if library.is_none() {
                return missing("NVRTC is not found, which compiles the kernels");
            }
        }
        let Some(headers) = toolkits.iter().chain(&packages).find_map(|root| headers(root)) else {
            return missing("the CUDA headers (cuda_runtime.h, crt/mma.h) are not found");
        };
        if headers.to_str().is_none() {
            return Err(format!("{}: a folder of CUDA headers must have a name in UTF-8", headers.display()));
        }
        Ok(Toolkit { nvrtc: library, headers })
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// NVRTC below `root`.
fn nvrtc(root: &Path) -> Option<PathBuf> {
    let folders = LIBRARIES.iter().map(|folder| root.join(folder));
    folders
        .flat_map(|folder| MAJORS.map(|major| folder.join(format!("libnvrtc.so.{major}"))))
        .find(|file| file.is_file())
}

/// What CUDA_PATH must be for the headers below `root`.
fn headers(root: &Path) -> Option<PathBuf> {
    HEADERS.iter().map(|folder| root.join(folder)).find(|folder| SIGNS.iter().all(|sign| folder.join(sign).is_file()))
}

/// What CubeCL needs to compile kernels.
#[derive(Debug)]
pub struct Toolkit {
    /// `None`: the system's loader finds it by itself.
    nvrtc: Option<PathBuf>,
    /// A folder that CUDA_PATH may name.
    headers: PathBuf,
}

/// Looks, and changes nothing; what is missing is said, and how to get it. `loads` tells whether the system's loader finds NVRTC
/// by itself.
pub fn find(loads: impl Fn() -> bool) -> Result<Toolkit, String> {
    Surroundings::here().toolkit(loads)
}

impl Toolkit {
    /// Loads NVRTC for good and lets CUDA_PATH name the headers, for the whole process.
    pub fn hand_over(&self) -> Result<(), String> {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock();
        if let Some(file) = &self.nvrtc {
            load(file)?;
        }
        if std::env::var_os("CUDA_PATH").is_none_or(|path| Path::new(&path) != self.headers) {
            log::debug!("CUDA_PATH is now {}", self.headers.display());
            // SAFETY: std's own readers are locked out. A thread of the host that reads the environment at this very moment could
            // see it change; CubeCL has no other way to be told. Where CUDA_PATH names what was found nothing is written.
            unsafe { std::env::set_var("CUDA_PATH", &self.headers) };
        }
        Ok(())
    }
}

fn advice(home: Option<&Path>) -> String {
    let target = home.map_or("FOLDER".into(), |home| home.join("cuda").display().to_string());
    format!(
        "`pip install --target {target} nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl` \
         puts it where this library looks (CUDA 13, for drivers from 580 on); so does the CUDA toolkit (looked at the folder cuda beside the library, CUDA_PATH, /usr/local/cuda, /opt/cuda, /usr and \
         Python's packages)"
    )
}

/// Loads a library for good.
#[cfg(unix)]
fn load(file: &Path) -> Result<(), String> {
    use std::os::unix::ffi::OsStrExt;

    let name =
        std::ffi::CString::new(file.as_os_str().as_bytes()).map_err(|_| format!("{}: not a path", file.display()))?;
    // SAFETY: NVRTC does nothing when it is loaded.
    if unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null() {
        return Err(format!("{} cannot be loaded: it is broken, or made for another system", file.display()));
    }
    Ok(())
}

/// Names of other systems' libraries are not looked for.
#[cfg(not(unix))]
fn load(_file: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn places_are_looked_at_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let variables: BTreeMap<&str, PathBuf> =
            [("CUDA_PATH", at("own")), ("VIRTUAL_ENV", at("venv")), ("HOME", at("me"))].into();
        let surroundings = Surroundings {
            home: Some(at("plugin/lib")),
            variable: Box::new(move |name| variables.get(name).map(|path| path.clone().into())),
            system: at("system"),
        };
        let found = |loads: bool| {
            let toolkit = surroundings.toolkit(|| loads).ok()?;
            let relative = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
            Some([toolkit.nvrtc.map(relative), Some(relative(toolkit.headers))])
        };
        assert_eq!(found(false), None);
        assert_eq!(found(true), None);
        // From the last place to the first: each takes the place of those behind it.
        for (library, include) in [
            (
                "me/.local/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                "me/.local/lib/python3.11/site-packages/nvidia/cu13",
            ),
            (
                "venv/lib/python3.9/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                "venv/lib/python3.9/site-packages/nvidia/cu13",
            ),
            ("system/opt/cuda/lib64/libnvrtc.so.13", "system/opt/cuda"),
            ("system/usr/local/cuda/lib64/libnvrtc.so.12", "system/usr/local/cuda"),
            ("own/lib/libnvrtc.so.12", "own"),
            ("plugin/lib/cuda/nvidia/cu13/lib/libnvrtc.so.13", "plugin/lib/cuda/nvidia/cu13"),
        ] {
            put(&at(library));
            SIGNS.iter().for_each(|sign| put(&at(include).join(sign)));
            let both = [library, include].map(|path| Some(path.to_owned()));
            assert_eq!(found(false), Some(both.clone()));
            // Packages come after what the loader finds.
            let package = library.contains("site-packages");
            assert_eq!(found(true), Some(if package { [None, both[1].clone()] } else { both }));
        }
        // Neither an older one nor the first of the headers alone.
        put(&at("old/lib/libnvrtc.so.11"));
        put(&at("old").join(SIGNS[0]));
        assert!(nvrtc(&at("old")).is_none() && headers(&at("old")).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_library_that_is_none_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = load(file.path()).unwrap_err();
        assert!(error.contains("cannot be loaded"), "{error}");
    }

    /// With the packages that scripts/peers installs: NVRTC needs no card to compile.
    #[cfg(target_os = "linux")]
    #[test]
    fn kernels_compile_with_what_pip_installed() {
        let Some(python) = std::env::var_os("TRANSUNET_PEERS").map(PathBuf::from) else {
            assert!(std::env::var_os("CI").is_none(), "TRANSUNET_PEERS is missing, and CI must have it");
            eprintln!("SKIPPED kernels_compile_with_what_pip_installed: TRANSUNET_PEERS is missing");
            return;
        };
        let environment = python.ancestors().nth(2).unwrap().to_owned();
        let surroundings = Surroundings {
            home: None,
            variable: Box::new(move |name| (name == "VIRTUAL_ENV").then(|| environment.clone().into())),
            system: "/nowhere".into(),
        };
        let toolkit = surroundings.toolkit(|| false).unwrap();
        load(toolkit.nvrtc.as_ref().unwrap()).unwrap();
        let include = toolkit.headers.join("include").display().to_string();
        let cccl = format!("{include}/cccl");
        let options = cudarc::nvrtc::CompileOptions {
            include_paths: vec![include, cccl],
            arch: Some("sm_90"),
            ..Default::default()
        };
        let source = "#include <cuda_runtime.h>\n#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n#include <mma.h>\n#include <cooperative_groups.h>\n#include <cuda/barrier>\n\
                      extern \"C\" __global__ void twice(float *x) { x[threadIdx.x] *= 2.0f; }";
        let code = cudarc::nvrtc::compile_ptx_with_opts(source, options).unwrap();
        assert!(code.to_src().contains("twice"));
    }
}
