//! The examples of the README are run as tests of their own.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]
