mod builder;
mod compare;
mod trace;
