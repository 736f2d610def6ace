//! The parameters of a request, the postprocessing of an output, and the time that each phase took.

pub mod params;
pub mod postprocess;
pub mod timing;
