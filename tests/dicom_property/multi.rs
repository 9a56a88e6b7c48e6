//! Files of a scene: enhanced multi-frame images (PS3.3 sections A.36, A.38, A.56, C.7.6.16, C.7.6.17).

use dicom::core::value::{DataSetSequence, PixelFragmentSequence};
use dicom::core::{DataElement, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;

use super::encode::{rle, words};
use super::recipe::{By, Kind, Layout, Recipe, Syntax};
use super::scene::Image;
use super::write::{common, put, put_pixels};
use crate::phantom::{decimals, put_text};

pub fn class(recipe: &Recipe) -> &'static str {
    match recipe.modality {
        "CT" => uids::ENHANCED_CT_IMAGE_STORAGE,
        "MR" => uids::ENHANCED_MR_IMAGE_STORAGE,
        _ => uids::ENHANCED_PET_IMAGE_STORAGE,
    }
}

pub fn object(recipe: &Recipe, frames: &[&Image]) -> InMemDicomObject {
    let first = frames[0];
    let mut object = common(recipe, first);
    put_text(&mut object, tags::SOP_CLASS_UID, VR::UI, class(recipe));
    put_text(&mut object, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\VOLUME\\NONE");
    put_text(&mut object, tags::INSTANCE_NUMBER, VR::IS, &(first.stack + 1).to_string());
    put_text(&mut object, tags::NUMBER_OF_FRAMES, VR::IS, &frames.len().to_string());
    let organization = "1.2.826.0.1.3680043.10.2.7";
    let pointer = |tag: Tag, group: Tag| {
        let mut item = InMemDicomObject::new_empty();
        put_text(&mut item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization);
        put(&mut item, tags::DIMENSION_INDEX_POINTER, VR::AT, tag);
        put(&mut item, tags::FUNCTIONAL_GROUP_POINTER, VR::AT, group);
        item
    };
    let mut one = InMemDicomObject::new_empty();
    put_text(&mut one, tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization);
    nest(&mut object, tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![one]);
    let dimensions = [tags::STACK_ID, tags::IN_STACK_POSITION_NUMBER];
    let dimensions = dimensions.map(|tag| pointer(tag, tags::FRAME_CONTENT_SEQUENCE));
    nest(&mut object, tags::DIMENSION_INDEX_SEQUENCE, dimensions.into());

    // What all frames have in common may be said once.
    let shared = matches!(recipe.layout, Layout::Multi { shared: true, .. });
    let orientation = |image: &Image| [image.row, image.column].concat();
    let same = frames.iter().all(|frame| orientation(frame) == orientation(first));
    let rescaled = |image: &Image| (image.slope, image.intercept);
    let same_scale = frames.iter().all(|frame| rescaled(frame) == rescaled(first));
    let mut all = InMemDicomObject::new_empty();
    if shared {
        measures(recipe, first, &mut all);
        if same {
            plane(recipe, first, &mut all);
        }
        if same_scale {
            rescale(first, &mut all);
        }
    }
    let own = frames.iter().map(|frame| {
        let mut groups = InMemDicomObject::new_empty();
        content(recipe, frame, &mut groups);
        let digits = recipe.position_digits;
        let position = frame.position.map(|x| format!("{x:.digits$}")).join("\\");
        group(&mut groups, tags::PLANE_POSITION_SEQUENCE, |item| {
            put_text(item, tags::IMAGE_POSITION_PATIENT, VR::DS, &position);
        });
        if !shared {
            measures(recipe, frame, &mut groups);
        }
        if !(shared && same) {
            plane(recipe, frame, &mut groups);
        }
        if !(shared && same_scale) {
            rescale(frame, &mut groups);
        }
        groups
    });
    let own = own.collect();
    nest(&mut object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![all]);
    nest(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, own);

    let allocated = first.bits.allocated;
    let pixels: Vec<Vec<u32>> = frames.iter().map(|frame| words(&frame.stored, frame.bits)).collect();
    if recipe.syntax == Syntax::Rle {
        let streams = pixels.iter().map(|words| rle(words, allocated)).collect::<Vec<_>>();
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(streams)));
    } else {
        put_pixels(&mut object, &pixels.concat(), allocated);
    }
    object
}

/// Frame Content, and what tells stacks apart.
fn content(recipe: &Recipe, frame: &Image, groups: &mut InMemDicomObject) {
    let rank = frame.stack as u32 + 1;
    let by = match recipe.kind {
        Kind::Several { by, .. } => Some(by),
        _ => None,
    };
    let stack = if by == Some(By::Stack) { rank } else { 1 };
    let number = frame.number.unwrap_or(1) as u32;
    group(groups, tags::FRAME_CONTENT_SEQUENCE, |item| {
        put_text(item, tags::STACK_ID, VR::SH, &stack.to_string());
        put(item, tags::IN_STACK_POSITION_NUMBER, VR::UL, number);
        put(item, tags::DIMENSION_INDEX_VALUES, VR::UL, [stack, number]);
        match by {
            Some(By::Time) => put(item, tags::TEMPORAL_POSITION_INDEX, VR::UL, rank),
            Some(By::Acquisition) => put(item, tags::FRAME_ACQUISITION_NUMBER, VR::US, rank as u16),
            _ => {}
        }
    });
    let (sequence, tag, value) = match by {
        Some(By::Echo) => (tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME, 7.5),
        Some(By::B) => (tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE, 500.0),
        Some(By::Phase) => (tags::CARDIAC_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME, 40.5),
        _ => return,
    };
    group(groups, sequence, |item| put(item, tag, VR::FD, value * f64::from(rank)));
}

fn measures(recipe: &Recipe, frame: &Image, groups: &mut InMemDicomObject) {
    group(groups, tags::PIXEL_MEASURES_SEQUENCE, |item| {
        put_text(item, tags::PIXEL_SPACING, VR::DS, &decimals(&[frame.spacing[1], frame.spacing[0]]));
        put_text(item, tags::SLICE_THICKNESS, VR::DS, &recipe.spacing[2].to_string());
    });
}

fn plane(recipe: &Recipe, frame: &Image, groups: &mut InMemDicomObject) {
    let digits = recipe.cosine_digits;
    let cosines: Vec<String> = [frame.row, frame.column].concat().iter().map(|x| format!("{x:.digits$}")).collect();
    group(groups, tags::PLANE_ORIENTATION_SEQUENCE, |item| {
        put_text(item, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &cosines.join("\\"));
    });
}

fn rescale(frame: &Image, groups: &mut InMemDicomObject) {
    group(groups, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, |item| {
        put_text(item, tags::RESCALE_SLOPE, VR::DS, &frame.slope.to_string());
        put_text(item, tags::RESCALE_INTERCEPT, VR::DS, &frame.intercept.to_string());
        put_text(item, tags::RESCALE_TYPE, VR::LO, "US");
    });
}

fn group(groups: &mut InMemDicomObject, tag: Tag, fill: impl FnOnce(&mut InMemDicomObject)) {
    let mut item = InMemDicomObject::new_empty();
    fill(&mut item);
    nest(groups, tag, vec![item]);
}

fn nest(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}
