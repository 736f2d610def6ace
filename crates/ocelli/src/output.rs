//! What a client asked for and what comes out: parameters, postprocessing and the time that each phase took.

pub mod params;
pub mod postprocess;
pub mod timing;
