//! What the JPEG library allocates in C stays within what [`Decoder::peak_bytes`] announced: the peak of resident memory of
//! a process of its own.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod support;

use std::{env, fs, process::Command};

use ocelli_vision::{DecodeLimits, Decoder, ImageHeader, Interpolation, ResizePolicy};
use support::{golden, spec};

/// Names the case in the environment of the process that decodes it.
const CASE: &str = "OCELLI_TEST_JPEG";
/// Names the file for what it takes.
const OUTCOME: &str = "OCELLI_TEST_OUTCOME";
/// What does not grow with the image: code that is loaded, rows, tables.
const FIXED_BYTES: u64 = 2 << 20;

/// A photo that says it is of another size and other sampling factors. libjpeg fetches memory for all coefficients, and takes
/// those that are missing for grey.
fn resized(name: &str, (width, height): (u16, u16), factors: &[u8]) -> Vec<u8> {
    let mut file = golden(name);
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC2]).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    for (component, &factor) in factors.iter().enumerate() {
        file[frame + 11 + 3 * component] = factor;
    }
    file
}

fn case(name: &str) -> Vec<u8> {
    match name {
        "full colours" => resized("progressive.jpg", (4000, 4000), &[0x11, 0x11, 0x11]),
        "half colours" => resized("progressive.jpg", (6000, 4000), &[0x22, 0x11, 0x11]),
        "a column of large blocks" => resized("grey-progressive.jpg", (1, 65_500), &[0x44]),
        "a row of large blocks" => resized("grey-progressive.jpg", (65_500, 1), &[0x44]),
        other => panic!("no case {other}"),
    }
}

/// A line of `/proc/self/status`, in bytes.
fn resident(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    let kilobytes = line.trim_matches([':', '\t', ' ']).strip_suffix(" kB").unwrap();
    kilobytes.trim().parse::<u64>().unwrap() << 10
}

/// Writes down what decoding the case took, for the test below that starts this process.
#[test]
fn decode_one() {
    let Ok(name) = env::var(CASE) else { return };
    let file = case(&name);
    let header = ImageHeader::read(&file, &DecodeLimits::default()).unwrap();
    let spec = spec(8, 8, ResizePolicy::Stretch, Interpolation::Bilinear);
    let announced = Decoder::peak_bytes(&file, &header, &spec);
    let mut decoder = Decoder::new().unwrap();
    let before = resident("VmRSS");
    // Some are refused, after the memory was fetched.
    let _ = decoder.prepare(&file, &header, &spec);
    let taken = resident("VmHWM") - before;
    fs::write(env::var(OUTCOME).unwrap(), format!("{taken} {announced}")).unwrap();
}

#[test]
fn hostile_photos_take_what_is_announced() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("outcome");
    for (name, least) in [
        ("full colours", 90 << 20),
        ("half colours", 70 << 20),
        ("a column of large blocks", 1 << 20),
        ("a row of large blocks", 1 << 20),
    ] {
        let ended = Command::new(env::current_exe().unwrap())
            .args(["--exact", "decode_one", "--nocapture"])
            .envs([(CASE, name.as_ref()), (OUTCOME, outcome.as_os_str())])
            .output()
            .unwrap();
        assert!(ended.status.success(), "{name}: {ended:?}");
        let numbers = fs::read_to_string(&outcome).unwrap();
        let (taken, announced) = numbers.split_once(' ').unwrap();
        let (taken, announced): (u64, u64) = (taken.parse().unwrap(), announced.parse().unwrap());
        assert!(taken >= least, "{name}: takes only {taken}");
        assert!(taken <= announced + FIXED_BYTES, "{name}: {taken} of {announced}");
        assert!(
            announced <= 2 * taken + FIXED_BYTES,
            "{name}: {announced} is far above {taken}"
        );
    }
}
