//! An operation of ours with its derivative, as Burn's CPU backend and its autodiff see it.
#![allow(unsafe_code)]

use std::fmt::Debug;
use std::mem::MaybeUninit;

use burn::tensor::{Bytes, DType, Tensor, TensorPrimitive};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::{Flex, FlexTensor, Layout};
use burn_std::{AllocationController, AllocationProperty};

use super::simd::buffer::Buffer;

/// Shape and contiguous values of a tensor.
pub struct Array<'a> {
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

/// A function of `N` tensors with one result, on plain f32 values.
pub trait Operation<const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// What the forward pass keeps for the backward pass, besides the inputs.
    type Saved: Clone + Debug + Send + 'static;

    /// Shape and values of the result.
    fn forward(&self, inputs: [Array; N]) -> (Vec<usize>, Buffer, Self::Saved);

    /// The derivatives by those inputs that are `wanted`, from the one by the result.
    fn backward(
        &self,
        inputs: [Array; N],
        saved: &Self::Saved,
        gradient: &[f32],
        wanted: [bool; N],
    ) -> [Option<Buffer>; N];
}

/// Memory of a tensor, which is kept as a buffer's is when Burn is done with it.
impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let values: &mut [f32] = self;
        // SAFETY: the same bytes, of any type; the caller writes none that are not initialised.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
    }

    fn memory(&self) -> &[MaybeUninit<u8>] {
        let values: &[f32] = self;
        // SAFETY: the same bytes, of any type.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
    }
}

fn bytes(values: Buffer) -> Bytes {
    let len = size_of_val(&values[..]);
    // SAFETY: all values are initialised.
    unsafe { Bytes::from_controller(Box::new(values), len) }
}

/// A tensor of f32 values in row-major order.
fn tensor(shape: impl Into<burn::tensor::Shape>, values: Buffer) -> FlexTensor {
    FlexTensor::new(bytes(values), Layout::contiguous(shape.into()), DType::F32)
}

fn array(tensor: &FlexTensor) -> Array<'_> {
    let (start, end) = tensor.layout().contiguous_offsets().expect("made contiguous");
    Array { shape: tensor.layout().shape(), values: &tensor.storage::<f32>()[start..end] }
}

fn run<O: Operation<N>, const N: usize>(operation: &O, inputs: &[FlexTensor; N]) -> (FlexTensor, O::Saved) {
    let (shape, values, saved) = operation.forward(inputs.each_ref().map(array));
    (tensor(shape, values), saved)
}

/// Burn backends that our operations run on.
pub trait Runs: burn::tensor::backend::Backend {
    fn apply<O: Operation<N>, const N: usize>(
        operation: O,
        inputs: [Self::FloatTensorPrimitive; N],
    ) -> (Self::FloatTensorPrimitive, O::Saved);
}

impl Runs for Flex {
    fn apply<O: Operation<N>, const N: usize>(operation: O, inputs: [FlexTensor; N]) -> (FlexTensor, O::Saved) {
        run(&operation, &inputs.map(|input| input.to_contiguous()))
    }
}

#[derive(Debug)]
struct Derivative<O>(O);

/// Inputs are kept by reference count.
type State<O, const N: usize> = ([FlexTensor; N], <O as Operation<N>>::Saved);

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Derivative<O> {
    type State = State<O, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (inputs, saved) = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(inputs.each_ref().map(array), &saved, array(&gradient).values, wanted);
        for ((parent, input), found) in ops.parents.into_iter().zip(&inputs).zip(found) {
            if let (Some(parent), Some(found)) = (parent, found) {
                grads.register::<Flex>(parent.id, tensor(input.layout().shape().clone(), found));
            }
        }
    }
}

impl Runs for Autodiff<Flex> {
    fn apply<O: Operation<N>, const N: usize>(
        operation: O,
        inputs: [Self::FloatTensorPrimitive; N],
    ) -> (Self::FloatTensorPrimitive, O::Saved) {
        let nodes = inputs.each_ref().map(|input| input.node.clone());
        let values = inputs.map(|input| input.primitive.to_contiguous());
        let (output, saved) = run(&operation, &values);
        let output = match Derivative(operation).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((values, saved.clone()), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        };
        (output, saved)
    }
}

/// The primitive behind a float tensor.
pub fn primitive<B: burn::tensor::backend::Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

/// The tensor around a primitive.
pub fn whole<B: burn::tensor::backend::Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}
