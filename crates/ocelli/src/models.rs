//! What is served: models as requests see them, where they come from, and whether there is room for another request.

pub mod admission;
pub mod catalog;
pub mod model_id;
pub mod prediction;
pub mod priority;
pub mod repository;
pub mod served_model;
pub mod source;
