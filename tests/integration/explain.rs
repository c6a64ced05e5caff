//! What is seen inside the network, against PyTorch and `pytorch-grad-cam` (tests/fixtures/explain/make_reference.py).
//! `cargo test explain -- --nocapture` shows by how much they differ.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{Device, Tensor};
use taper::config::AttentionKind;
use taper::data::{SIDE, loader::evaluation_batch};
use taper::explain::attention_map::{CHANNELS, attention_maps, gates};
use taper::explain::feature_maps::feature_maps;
use taper::explain::grad_cam::{Method, at_input, grad_cam};
use taper::explain::predicted;
use taper::model::weights::deserialize;
use taper::model::{Cnn, Inside, Layer};

use crate::pytorch::{NETWORKS, network, sample, values};

fn reference(attention: AttentionKind) -> Result<BTreeMap<String, Tensor>> {
    let bytes: &[u8] = match attention {
        AttentionKind::None => include_bytes!("../fixtures/explain/reference.safetensors"),
        AttentionKind::Se => include_bytes!("../fixtures/explain/reference_se.safetensors"),
    };
    deserialize(bytes, &Device::Cpu)
}

/// The network, and what it makes of the picture of the reference.
fn looked_inside(attention: AttentionKind, reference: &BTreeMap<String, Tensor>) -> Result<(Cnn, Inside)> {
    let number = values(&reference["picture"])?[0] as usize;
    let batch = evaluation_batch(&sample()?.test, number..number + 1);
    let x = Tensor::from_vec(batch.pictures, (1, SIDE, SIDE, 3), &Device::Cpu)?;
    let cnn = network(attention)?;
    let inside = cnn.look_inside(&x)?;
    Ok((cnn, inside))
}

/// The greatest difference, relative to the greatest of the expected.
fn difference(ours: &[f32], expected: &Tensor) -> Result<f64> {
    let expected = values(expected)?;
    assert_eq!(ours.len(), expected.len());
    let greatest = expected.iter().fold(0.0f64, |greatest, value| greatest.max(value.abs()));
    let apart = ours.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
    Ok(apart / greatest)
}

#[test]
fn grad_cam_is_that_of_pytorch_grad_cam() -> Result<()> {
    for attention in NETWORKS {
        let reference = reference(attention)?;
        let (cnn, inside) = looked_inside(attention, &reference)?;
        let mut checked = 0;
        for layer in Layer::ALL {
            for (method, name) in [(Method::GradCam, "gradcam"), (Method::GradCamPlusPlus, "gradcam++")] {
                for class in 0..10 {
                    let key = format!("{layer}.{name}.{class}");
                    let Some(expected) = reference.get(&format!("{key}.layer")) else { continue };
                    let cam = &grad_cam(&cnn, layer, inside.output(layer), &[class], method)?[0];
                    let at_layer = difference(&cam.values, expected)?;
                    let normalised = match reference.get(&key) {
                        Some(expected) => difference(&at_input(cam, SIDE, SIDE).values, expected)?,
                        None => 0.0,
                    };
                    println!("{attention:?} {key}: {at_layer:.1e} at the layer, {normalised:.1e} at the picture");
                    assert!(
                        at_layer <= 1e-3 && normalised <= 1e-3,
                        "{attention:?} {key}: {at_layer:.1e}, {normalised:.1e}"
                    );
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 12);
    }
    Ok(())
}

#[test]
fn layers_gates_and_logits_are_those_of_pytorchs_hooks() -> Result<()> {
    for attention in NETWORKS {
        let reference = reference(attention)?;
        let (_, inside) = looked_inside(attention, &reference)?;
        let logits = inside.logits.to_vec2::<f32>()?.remove(0);
        assert!(difference(&logits, &reference["logits"])? < 1e-5);
        assert_eq!(predicted(&logits) as f64, {
            let theirs = values(&reference["logits"])?;
            (0..10).max_by(|&a, &b| theirs[a].total_cmp(&theirs[b])).expect("ten") as f64
        });
        for layer in Layer::ALL {
            let maps = feature_maps(inside.output(layer), 0)?;
            let means: Vec<f32> = maps.iter().map(|map| map.mean()).collect();
            let first_rows: Vec<f32> = maps.iter().flat_map(|map| map.values[..map.width].to_vec()).collect();
            assert!(difference(&means, &reference[&format!("{layer}.means")])? < 1e-4, "{layer}");
            assert!(difference(&first_rows, &reference[&format!("{layer}.first_row")])? < 1e-5, "{layer}");
            let active: Vec<f64> = attention_maps(&maps, CHANNELS).iter().map(|chosen| chosen.channel as f64).collect();
            assert_eq!(active, values(&reference[&format!("{layer}.active")])?, "{layer}");
            match reference.get(&format!("{layer}.gates")) {
                Some(expected) => {
                    let ours = gates(inside.gates(layer).expect("gates"), 0)?;
                    assert!(difference(&ours, expected)? < 1e-5, "{layer}");
                }
                None => assert!(inside.gates(layer).is_none()),
            }
        }
    }
    Ok(())
}
