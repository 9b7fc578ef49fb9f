mod builder;
mod trace;
