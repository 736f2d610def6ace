//! Which of a folder's ONNX files to take.

use crate::Format;

/// How the numbers of a variant are kept, by the endings that optimum and transformers.js give to file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    /// `model_quantized`, `model_int8`, `model_uint8`, `model_qint8_avx512_vnni`: 8-bit integers.
    Int8,
    /// `model`: as exported.
    Fp32,
    /// `model_fp16`, and `model_O4`, which optimum makes for GPUs.
    Fp16,
    /// `model_q4`, `model_q4f16`, `model_bnb4`: 4-bit weights, made for large language models in browsers.
    FourBit,
}

impl Precision {
    fn of(stem: &str) -> Self {
        let parts = stem.split(['_', '-', '.']).skip(1);
        parts.filter_map(Self::of_part).max().unwrap_or(Self::Fp32)
    }

    /// What a part of a name says, in lower case.
    fn of_part(part: &str) -> Option<Self> {
        match part {
            "quantized" | "quant" | "int8" | "uint8" | "qint8" | "quint8" | "q8" => Some(Self::Int8),
            "fp16" | "float16" | "half" | "f16" | "o4" => Some(Self::Fp16),
            "q1" | "q2" | "q2f16" | "q4" | "q4f16" | "bnb4" | "int4" => Some(Self::FourBit),
            _ => None,
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Int8 => "int8, the fastest on a CPU",
            Self::Fp32 => "fp32, for there is no int8",
            Self::Fp16 => "fp16, for there is nothing else (on a CPU it is computed as fp32)",
            Self::FourBit => {
                "4 bits, for there is nothing else (made for other hardware; expect it to be slow)"
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub name: String,
    /// Such as `int8, the fastest on a CPU; there are also model.onnx, model_fp16.onnx`.
    pub why: String,
}

/// Chooses among the files of a model, named relative to its folder with `/` between, as on the hub. Files that are
/// no ONNX files are passed over, and so are those in other folders than `onnx` unless there are no others.
///
/// ONNX Runtime computes int8 on a CPU in int8, several times as fast as fp32 where the CPU has instructions for it.
/// For fp16 it has no kernels on most CPUs and computes in fp32 (measured with convolutions and matrices: equally fast
/// within noise), with weights that were rounded. So fp16 is taken only where there is nothing else.
///
/// # Errors
/// In words: there is none, or there are several that do not look like variants of one model.
pub fn choose_variant(names: &[&str]) -> Result<Variant, String> {
    let mut candidates: Vec<Candidate<'_>> = names.iter().filter_map(|name| Candidate::of(name)).collect();
    if candidates
        .iter()
        .any(|candidate| candidate.place != Place::Elsewhere)
    {
        candidates.retain(|candidate| candidate.place != Place::Elsewhere);
    }
    // Of a model with a part for images and a part for texts, the part for images.
    if candidates.iter().any(|candidate| candidate.is_tower) {
        candidates.retain(|candidate| candidate.is_tower);
    }
    candidates.retain(|candidate| candidate.runs_here || names.len() == 1);
    candidates.sort();
    let [first, rest @ ..] = candidates.as_slice() else {
        return Err(match Format::among(names) {
            Some((name, format)) => format!("holds no ONNX file that can be served: {name} {format}"),
            None => "holds no ONNX file that can be served: name a folder with one".to_owned(),
        });
    };
    let families: Vec<&str> = rest
        .iter()
        .map(|candidate| candidate.family)
        .filter(|family| *family != first.family)
        .collect();
    if !families.is_empty() {
        let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name).collect();
        return Err(format!(
            "holds several ONNX files ({}): say which, as in #{}",
            names.join(", "),
            first.name
        ));
    }
    let others: Vec<&str> = rest.iter().map(|candidate| candidate.name).collect();
    let why = match others.as_slice() {
        [] => "the only ONNX file".to_owned(),
        others => format!("{}; there are also {}", first.precision.why(), others.join(", ")),
    };
    Ok(Variant {
        name: first.name.to_owned(),
        why,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Top,
    /// The folder that optimum and transformers.js write to.
    Onnx,
    Elsewhere,
}

/// A file that may be taken; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate<'a> {
    precision: Precision,
    /// Plain names before those with more in them, such as an architecture or a level of optimisation.
    extras: usize,
    /// Of two that are alike, the one that its maker calls just "quantized", and the one nearer to the top.
    rank: usize,
    place: Place,
    name: &'a str,
    /// The part before the first `_`: variants of one model have it in common.
    family: &'a str,
    is_tower: bool,
    runs_here: bool,
}

impl<'a> Candidate<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let stem = file.strip_suffix(".onnx")?;
        let lower = stem.to_ascii_lowercase();
        let is_tower = ["vision_model", "image_encoder", "visual"]
            .iter()
            .any(|tower| lower.starts_with(tower));
        let family = if is_tower { "vision" } else { family(stem) };
        let is_arm = ["arm64", "aarch64"].iter().any(|arch| lower.contains(arch));
        let is_x86 = ["avx", "vnni"].iter().any(|arch| lower.contains(arch));
        let runs_here = if cfg!(target_arch = "aarch64") {
            !is_x86
        } else {
            !is_arm
        };
        let rank = ["quantized", "int8", "uint8"]
            .iter()
            .position(|word| lower.ends_with(word));
        Some(Self {
            precision: Precision::of(&lower),
            extras: lower.split(['_', '-', '.']).count(),
            rank: rank.unwrap_or(3),
            place: match folder {
                "" => Place::Top,
                "onnx" => Place::Onnx,
                _ => Place::Elsewhere,
            },
            name,
            family,
            is_tower,
            runs_here,
        })
    }
}

/// The name without the endings that only say how a variant was made: `resnet_50` is no variant of `resnet_18`.
pub(super) fn family(stem: &str) -> &str {
    const MADE: [&str; 12] = [
        "o1",
        "o2",
        "o3",
        "optimized",
        "fp32",
        "float32",
        "static",
        "dynamic",
        "avx2",
        "avx512",
        "vnni",
        "arm64",
    ];
    let mut family = stem;
    while let Some((before, last)) = family.rsplit_once(['_', '-', '.']) {
        let last = last.to_ascii_lowercase();
        if !MADE.contains(&last.as_str()) && Precision::of_part(&last).is_none() {
            break;
        }
        family = before;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_before_fp32_before_fp16() {
        let all = [
            "config.json",
            "onnx/model.onnx",
            "onnx/model_fp16.onnx",
            "onnx/model_int8.onnx",
            "onnx/model_q4.onnx",
            "onnx/model_quantized.onnx",
            "onnx/model_uint8.onnx",
            "onnx/model_bnb4.onnx",
        ];
        let chosen = choose_variant(&all).unwrap();
        assert_eq!(chosen.name, "onnx/model_quantized.onnx");
        assert!(
            chosen
                .why
                .starts_with("int8, the fastest on a CPU; there are also"),
            "{chosen:?}"
        );
        for (names, name, why) in [
            (
                &["model_fp16.onnx", "model.onnx"][..],
                "model.onnx",
                "fp32, for there is no int8",
            ),
            (
                &["model_fp16.onnx", "model_q4.onnx"],
                "model_fp16.onnx",
                "fp16, for there is nothing else",
            ),
            (
                &["model_int8.onnx", "model_uint8.onnx"],
                "model_int8.onnx",
                "int8",
            ),
            (&["onnx/model.onnx", "model.onnx"], "model.onnx", "fp32"),
            (
                &["model.onnx", "model_O3.onnx", "model_O4.onnx"],
                "model.onnx",
                "fp32",
            ),
            (
                &["my-net.onnx", "my-net.onnx.data"],
                "my-net.onnx",
                "the only ONNX file",
            ),
            (
                &["my-net.onnx", "my-net_int8_avx2.onnx"],
                "my-net_int8_avx2.onnx",
                "int8",
            ),
            (
                &[
                    "vision_model.onnx",
                    "text_model.onnx",
                    "vision_model_fp16.onnx",
                    "model_quantized.onnx",
                ],
                "vision_model.onnx",
                "fp32",
            ),
        ] {
            let chosen = choose_variant(names).unwrap();
            assert_eq!(chosen.name, name);
            assert!(chosen.why.starts_with(why), "{chosen:?}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_is_made_for_another_processor_is_passed_over() {
        let names = [
            "model.onnx",
            "model_qint8_arm64.onnx",
            "model_qint8_avx512_vnni.onnx",
        ];
        assert_eq!(
            choose_variant(&names).unwrap().name,
            "model_qint8_avx512_vnni.onnx"
        );
        assert_eq!(choose_variant(&names[..2]).unwrap().name, "model.onnx");
    }

    #[test]
    fn different_models_are_not_variants() {
        let error = choose_variant(&["cats.onnx", "dogs.onnx"]).unwrap_err();
        assert!(
            error.contains("cats.onnx, dogs.onnx") && error.contains("#cats.onnx"),
            "{error}"
        );
        assert!(choose_variant(&["resnet_18.onnx", "resnet_50.onnx"]).is_err());
        let error = choose_variant(&["model.safetensors", "README.md"]).unwrap_err();
        assert!(error.contains("model.safetensors holds weights"), "{error}");
        let error = choose_variant(&["README.md"]).unwrap_err();
        assert!(error.contains("name a folder"), "{error}");
    }
}
