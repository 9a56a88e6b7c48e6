//! What a DICOM SEG says of its sources where slices are not images of their own: frames, tiles, resampled slices.

use dicom::core::Tag;
use transunet::dicom::SegEncoding;

use super::*;

fn written(series: Series) -> InMemDicomObject {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    let labels = vec![Label::numbered(1)];
    let voxels = vec![1; series.geometry.len()];
    let options = SegOptions { encoding: SegEncoding::LabelMap, ..deterministic() };
    write_seg(&labelmap_of(series, voxels, labels), &path, &options, &mut Control::none()).unwrap();
    open_file(&path).unwrap().into_inner()
}

fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).unwrap_or_else(|| panic!("{tag}")).items().unwrap()
}

/// UIDs of the referenced instances of the source series.
fn instances(seg: &InMemDicomObject) -> Vec<String> {
    let series = items(seg, tags::REFERENCED_SERIES_SEQUENCE);
    assert_eq!(series.len(), 1);
    let instances = items(&series[0], tags::REFERENCED_INSTANCE_SEQUENCE);
    instances.iter().map(|instance| word(instance, tags::REFERENCED_SOP_INSTANCE_UID)).collect()
}

/// Of each frame: source image, frame number, whether locations are preserved, position.
fn frames(seg: &InMemDicomObject) -> Vec<(String, Option<u32>, String, Vec<f64>)> {
    let frame = |groups: &InMemDicomObject| {
        let derivation = &items(groups, tags::DERIVATION_IMAGE_SEQUENCE)[0];
        let source = items(derivation, tags::SOURCE_IMAGE_SEQUENCE);
        assert_eq!(source.len(), 1);
        (
            word(&source[0], tags::REFERENCED_SOP_INSTANCE_UID),
            source[0].get(tags::REFERENCED_FRAME_NUMBER).map(|number| number.to_int().unwrap()),
            word(&source[0], tags::SPATIAL_LOCATIONS_PRESERVED),
            numbers(&items(groups, tags::PLANE_POSITION_SEQUENCE)[0], tags::IMAGE_POSITION_PATIENT),
        )
    };
    items(seg, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).iter().map(frame).collect()
}

#[test]
fn frames_of_multi_frame_images_are_named() {
    let mut series = made_series(6);
    // Two objects of three frames, stored in the other direction.
    for (k, instance) in series.instances.iter_mut().enumerate() {
        instance.sop_instance_uid = ["1.2.3.1", "1.2.3.2"][k / 3].into();
        instance.frame = Some(3 - k as u32 % 3);
    }
    let seg = written(series);
    assert_eq!(instances(&seg), ["1.2.3.1", "1.2.3.2"]);
    let found = frames(&seg).into_iter().map(|(uid, number, preserved, _)| (uid, number, preserved));
    let expected = [("1.2.3.1", 3), ("1.2.3.1", 2), ("1.2.3.1", 1), ("1.2.3.2", 3), ("1.2.3.2", 2), ("1.2.3.2", 1)]
        .map(|(uid, number)| (uid.to_string(), Some(number), "YES".to_string()));
    assert!(found.eq(expected));
}

#[test]
fn tiles_of_a_mosaic_lie_elsewhere_in_their_image() {
    let mut series = made_series(4);
    series.instances.iter_mut().for_each(|instance| instance.sop_instance_uid = "1.2.3.1".into());
    let seg = written(series);
    assert_eq!(instances(&seg), ["1.2.3.1"]);
    for (uid, number, preserved, _) in frames(&seg) {
        assert_eq!((uid.as_str(), number, preserved.as_str()), ("1.2.3.1", None, "NO"));
    }
}

#[test]
fn resampled_slices_lie_on_the_grid_and_not_on_their_images() {
    let mut series = made_series(4);
    series.resampled = true;
    let geometry = series.geometry.clone();
    series.instances.iter_mut().for_each(|instance| instance.position = [1.0, 2.0, 3.0]);
    let seg = written(series);
    for (k, (_, number, preserved, position)) in frames(&seg).into_iter().enumerate() {
        assert_eq!((number, preserved.as_str()), (None, "NO"));
        let off = sub(position.try_into().unwrap(), geometry.position([0.0, 0.0, k as f64]));
        assert!(norm(off) < 1e-9, "{off:?}");
    }
}

#[test]
fn a_tilted_stack_says_the_distance_along_the_normal() {
    let mut series = made_series(4);
    let [right, down, through] = series.geometry.direction;
    let askew: Vec3 = std::array::from_fn(|n| 0.8 * through[n] + 0.6 * down[n]);
    series.geometry =
        Geometry::sheared(series.geometry.size, [0.7, 1.3, 2.5], series.geometry.origin, [right, down, askew]).unwrap();
    for (k, instance) in series.instances.iter_mut().enumerate() {
        instance.position = series.geometry.position([0.0, 0.0, k as f64]);
    }
    let positions: Vec<Vec3> = series.instances.iter().map(|instance| instance.position).collect();
    let seg = written(series);
    let measures = &items(&items(&seg, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0], tags::PIXEL_MEASURES_SEQUENCE)[0];
    assert!((numbers(measures, tags::SPACING_BETWEEN_SLICES)[0] - 2.0).abs() < 1e-9);
    assert!(seg.get(tags::DIMENSION_ORGANIZATION_TYPE).is_none(), "a sheared stack is no 3D volume");
    for ((_, _, preserved, position), expected) in frames(&seg).into_iter().zip(positions) {
        assert_eq!(preserved, "YES");
        assert!(norm(sub(position.try_into().unwrap(), expected)) < 1e-9);
    }
}
