//! Turns the real kernel's maps, links and program into assertions; every test has its own pin directory and needs root.

mod lab;
mod links;
mod maps;
mod policies;
mod running;
mod slow_path;
mod stack;
