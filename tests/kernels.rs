//! The CPU's operations and their derivatives against Burn's own, which they stand for.

#[path = "common/operations.rs"]
mod operations;

use burn_autodiff::Autodiff;
use burn_dispatch::{Dispatch, DispatchDevice};
use burn_flex::Flex;
use operations::{Case, Operation, found};
#[cfg(feature = "cuda")]
use transunet::device::{Device, DeviceChoice};

fn check(cases: Vec<Case>) {
    let burns = DispatchDevice::autodiff(DispatchDevice::Flex(Default::default()));
    operations::check::<Autodiff<Flex>, Dispatch>(&cases, &Default::default(), &burns, 1e-4);
}

#[test]
fn convolutions() {
    check(operations::convolutions());
}

#[test]
fn normalisations() {
    check(operations::normalisations());
}

#[test]
fn tokens() {
    check(operations::tokens());
}

#[test]
fn maps() {
    check(operations::maps());
}

/// Sums are taken in an order that no number of threads changes.
#[test]
fn threads_change_no_bit() {
    let shapes: Vec<Vec<usize>> = vec![vec![2, 19, 23, 48], vec![32, 48, 3, 3]];
    let run = || found::<Autodiff<Flex>>(Operation::Convolution(1, 1), &shapes, &Default::default());
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run);
    for threads in [2, 3, 5] {
        let together = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
        assert!(alone == together, "{threads} threads");
    }
}

/// With TF32, in which Burn multiplies float32 on newer cards, products are 10 bits exact.
#[cfg(feature = "cuda")]
#[test]
fn a_card_if_there_is_one() {
    if let Err(reason) = Device::open(DeviceChoice::Cuda(0)) {
        println!("SKIPPED a_card_if_there_is_one: {reason}");
        return;
    }
    let device = DispatchDevice::autodiff(DispatchDevice::Cuda(Default::default()));
    operations::check::<Dispatch, Autodiff<Flex>>(&operations::all(), &device, &Default::default(), 5e-3);
}
