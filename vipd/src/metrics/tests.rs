//! What is served, what is documented and what the dashboard asks for are the same metrics.

mod dashboard;
mod reference;
mod slow;
mod text;
