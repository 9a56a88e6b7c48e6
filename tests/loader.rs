//! Batches: a function of seed and number, whatever the cache and wherever a run begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use transunet::augment::{Augmentation, LowData};
use transunet::config::{Input, ModelConfig};
use transunet::control::Control;
use transunet::geometry::Geometry;
use transunet::loader::{Batch, Loader, PreparedCase, Sampling, Source, prepare};
use transunet::network::Architecture;
use transunet::volume::Volume;
use transunet::{Error, Result};

const SLICES: usize = 5;

struct Cases {
    config: ModelConfig,
    reads: AtomicUsize,
    /// A case that cannot be read any more after the first time.
    lost: Option<usize>,
}

impl Source for Cases {
    fn cases(&self) -> usize {
        4
    }

    fn prepare(&self, case: usize) -> Result<PreparedCase> {
        let reads = self.reads.fetch_add(1, Ordering::SeqCst);
        if self.lost == Some(case) && reads >= 4 {
            return Err(Error::Argument(format!("case {case}: the file is gone")));
        }
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let geometry = Geometry::new([16, 16, SLICES], [1.0; 3], [0.0; 3], axes).unwrap();
        let value = |n: usize| (case * 1000 + n / 256 * 10) as f32 + (n % 7) as f32 / 10.0;
        let voxels = (0..geometry.len()).map(value).collect();
        // Only the middle slice shows label 1, and of case 0 alone the last slice label 2.
        let label = |n: usize| match n / 256 {
            2 => u8::from(n % 16 < 8),
            4 if case == 0 => 2,
            _ => 0,
        };
        let labels = (0..geometry.len()).map(label).collect();
        prepare(&self.config, &Arc::new(Volume::from_memory(geometry, voxels, "test")?), labels, None)
    }
}

fn cases(lost: Option<usize>) -> Arc<Cases> {
    let input = Input { size: Some([16, 16]), ..Input::default() };
    let config = ModelConfig { input, ..ModelConfig::undescribed(Architecture::tiny(16, 3)) };
    Arc::new(Cases { config, reads: AtomicUsize::new(0), lost })
}

fn loader(cases: &Arc<Cases>, sampling: Sampling, augmentation: Augmentation, memory: u64) -> Loader {
    Loader::new(cases.clone(), &cases.config, sampling, augmentation, 7, memory, &mut Control::none()).unwrap()
}

const SIX: Sampling = Sampling { batch: 6, foreground: 0.0 };
const PLENTY: u64 = 1 << 30;

fn low_data() -> Augmentation {
    Augmentation::LowData(LowData::default())
}

#[test]
fn a_batch_is_a_function_of_seed_and_number() {
    let all = loader(&cases(None), SIX, low_data(), PLENTY);
    let batches: Vec<Batch> = all.batches(0, 9).into_iter().map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.len(), 9);
    let small = loader(&cases(None), SIX, low_data(), 3000);
    let resumed: Vec<Batch> = small.batches(5, 9).into_iter().map(|batch| batch.unwrap()).collect();
    assert_eq!(resumed, batches[5..], "begun later, with a cache that holds one case");
    assert_eq!(all.batch(3).unwrap(), batches[3]);
}

#[test]
fn an_epoch_sees_every_slice_once() {
    let loader = loader(&cases(None), SIX, Augmentation::None, PLENTY);
    assert_eq!((loader.slices(), loader.batches_per_epoch()), (20, 4));
    let mut orders = Vec::new();
    for epoch in 0..2 {
        let batches: Vec<Batch> = (0..4).map(|n| loader.batch(4 * epoch + n).unwrap()).collect();
        assert_eq!(batches.iter().map(|batch| batch.slices.len()).collect::<Vec<_>>(), [6, 6, 6, 2]);
        for batch in &batches {
            let count = batch.slices.len() * 256;
            assert_eq!((batch.images.len(), batch.labels.len(), batch.size), (count, count, [16, 16]));
            for (n, &(case, slice)) in batch.slices.iter().enumerate() {
                assert_eq!(batch.images[256 * n].floor(), (case * 1000 + slice * 10) as f32, "the slice that it says");
            }
        }
        let mut seen: Vec<_> = batches.iter().flat_map(|batch| batch.slices.clone()).collect();
        orders.push(seen.clone());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20);
    }
    assert_ne!(orders[0], orders[1]);
}

#[test]
fn foreground_is_drawn_more_often_each_label_in_turn() {
    let sampling = Sampling { batch: 10, foreground: 0.5 };
    let loader = loader(&cases(None), sampling, Augmentation::None, PLENTY);
    let mut shown = [0; 3];
    for n in 0..60 {
        for labels in loader.batch(n).unwrap().labels.chunks_exact(256) {
            shown[usize::from(*labels.iter().max().unwrap())] += 1;
        }
    }
    // Of 600: half as they come (1/5 show label 1, 1/20 label 2), half in turn.
    assert!((180..240).contains(&shown[1]) && (140..190).contains(&shown[2]), "{shown:?}");
}

#[test]
fn memory_is_bounded() {
    let cases = cases(None);
    let loader = loader(&cases, SIX, Augmentation::None, 2 * 5 * 256 * SLICES as u64);
    let first = cases.reads.load(Ordering::SeqCst);
    (0..8).for_each(|n| drop(loader.batch(n).unwrap()));
    assert_eq!(first, 4);
    assert!(cases.reads.load(Ordering::SeqCst) > 8, "two of four cases fit: the others are read again");
}

#[test]
fn a_case_that_is_lost_ends_it_with_its_name() {
    let loader = loader(&cases(Some(2)), SIX, Augmentation::None, 0);
    let batches: Vec<_> = loader.batches(0, 8).into_iter().collect();
    let last = batches.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(last.contains("case 2: the file is gone"), "{last}");
    assert!(batches[..batches.len() - 1].iter().all(Result::is_ok));
}

#[test]
fn nobody_waits_for_batches_that_nobody_wants() {
    let cases = cases(None);
    drop(loader(&cases, SIX, low_data(), PLENTY).batches(0, 1_000_000));
    // The thread holds the cases until it ends.
    for _ in 0..500 {
        if Arc::strong_count(&cases) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the thread still runs");
}

#[test]
fn labels_outside_the_classes_are_refused() {
    let config = cases(None).config.clone();
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let geometry = Geometry::new([16, 16, 1], [1.0; 3], [0.0; 3], axes).unwrap();
    let volume = Arc::new(Volume::from_memory(geometry, vec![0.0; 256], "test").unwrap());
    let labels = vec![4; 256];
    let error = prepare(&config, &volume, labels.clone(), None).unwrap_err().to_string();
    assert_eq!(error, "label 4 is outside of the 3 classes (0 to 2)");
    prepare(&config, &volume, labels, Some(4)).unwrap();
}
