//! What is served, what is documented and what the dashboard asks for are the same metrics.

mod browser;
mod dashboard;
mod page;
mod reference;
mod served;
mod slow;
mod text;
