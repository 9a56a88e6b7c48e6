//! How the segments and regions of DICOM objects become the labels that a configuration names.

use super::config::{DataConfig, Others, Resample};
use super::meaning::IGNORE;
use crate::dicom::{Claims, Overlap, Seg, Structures};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::labels::Label;
use crate::volume::Volume;

/// What `overlap`, `others` and `resample` of a configuration ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRules {
    overlap: Overlap,
    others: Others,
    resample: Resample,
    labels: Vec<Label>,
}

impl ClaimRules {
    pub fn of(config: &DataConfig) -> Result<Self> {
        let rules = ClaimRules {
            overlap: config.overlap.unwrap_or_default(),
            others: config.others.unwrap_or_default(),
            resample: config.resample.unwrap_or_default(),
            labels: config.labels.clone(),
        };
        if rules.labels.is_empty() && rules.overlap != Overlap::Refuse {
            let text =
                format!("data: overlap is {}, which is the order of data.labels: say them", rules.overlap.name());
            return Err(Error::Config(text));
        }
        if rules.labels.is_empty() && rules.others != Others::Refuse {
            let text = "data: others is background, which are those not in data.labels: say them";
            return Err(Error::Config(text.into()));
        }
        Ok(rules)
    }

    pub fn resamples(&self) -> bool {
        self.resample == Resample::Nearest
    }

    /// The labels of `seg` on the image's grid, with its own numbers, and what they mean.
    pub fn segments(&self, seg: Seg, image: &Volume) -> Result<(Vec<u8>, Vec<Label>)> {
        let (claims, named) =
            (self.claims(&seg.labels), self.counted(&seg.labels).map_err(|e| e.at(seg.path.display()))?);
        let grid = image.geometry();
        let voxels = self.placed(seg.read(grid, claims.clone()), || seg.read_nearest(grid, claims))?;
        Ok((voxels, named))
    }

    /// As [`ClaimRules::segments`].
    pub fn regions(&self, set: Structures, image: &Volume) -> Result<(Vec<u8>, Vec<Label>)> {
        let (claims, named) =
            (self.claims(&set.labels), self.counted(&set.labels).map_err(|e| e.at(set.path.display()))?);
        let grid: &Geometry = image.geometry();
        let exact = match image.series() {
            Some(series) => set.read_on(series, claims.clone()),
            None => set.read(grid, claims.clone()),
        };
        let voxels = self.placed(exact, || set.read_nearest(grid, claims))?;
        Ok((voxels, named))
    }

    fn placed(&self, exact: Result<Vec<u8>>, nearest: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        match exact {
            Err(Error::DicomGeometry(why)) if self.resamples() => {
                log::info!("labels are resampled: {why}");
                nearest()
            }
            Err(Error::DicomGeometry(why)) => {
                Err(Error::DicomGeometry(format!("{why} (data: resample: nearest takes what lies nearest)")))
            }
            other => other,
        }
    }

    /// The order of the labels that a configuration states; without any, each counts as much as the others.
    fn claims(&self, named: &[Label]) -> Claims {
        if self.labels.is_empty() {
            return self.overlap.into();
        }
        let mut ranks = [None; 256];
        for label in named {
            let known =
                self.labels.iter().find(|known| known.name.trim() == label.name.trim()).map(|known| known.value);
            // Names that are not known are refused later, by those who know what to ignore.
            let last = (self.others == Others::Refuse || label.name.trim() == IGNORE).then_some(u8::MAX);
            ranks[usize::from(label.value)] = known.or(last);
        }
        Claims::new(self.overlap, ranks)
    }

    /// Those of `named` that count. One object without any is more often one of other names than a patient without findings.
    fn counted(&self, named: &[Label]) -> Result<Vec<Label>> {
        if self.others == Others::Refuse {
            return Ok(named.to_vec());
        }
        let known = |name: &str| name == IGNORE || self.labels.iter().any(|label| label.name.trim() == name);
        let counted: Vec<Label> = named.iter().filter(|label| known(label.name.trim())).cloned().collect();
        if counted.is_empty() && !named.is_empty() {
            let names = |labels: &[Label]| labels.iter().map(|l| l.name.trim()).collect::<Vec<_>>().join(", ");
            return Err(Error::VolumeFormat(format!(
                "none of its segments ({}) is among the data set's labels ({}), so all of it would be background",
                names(named),
                names(&self.labels)
            )));
        }
        Ok(counted)
    }
}
