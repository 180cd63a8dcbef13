//! Tests against servers, in one binary so that they are linked once.

mod comparator;
mod support;
