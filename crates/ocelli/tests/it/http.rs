//! HTTP as clients see it.

pub(crate) mod access_log;
pub(crate) mod addresses;
pub(crate) mod api;
pub(crate) mod bad_images;
pub(crate) mod batch_requests;
pub(crate) mod bodies;
pub(crate) mod connections;
pub(crate) mod cors;
pub(crate) mod cross_site;
pub(crate) mod deadlines;
pub(crate) mod disconnects;
pub(crate) mod error_messages;
pub(crate) mod hostile_bodies;
pub(crate) mod hostile_requests;
pub(crate) mod info;
pub(crate) mod predict;
pub(crate) mod query_parameters;
pub(crate) mod slow_bodies;
pub(crate) mod unread_responses;
