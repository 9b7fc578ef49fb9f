mod circuit;
mod hostile;
mod network;
mod rounds;
